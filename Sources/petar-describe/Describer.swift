import CPetar
import Glibc
import Petar
import PetarConsole

/// An opened model, session and exam: describes its lesions, through petar.h as any host does.
final class Describer {
  private let request: Request
  private let model, session, pet, ct, mask: OpaquePointer
  private let progress: ProgressLine
  private let warnings: WarningLog
  /// Whether text is streamed to standard output as it is written.
  private let streams: Bool

  init(_ request: Request) throws {
    self.request = request
    streams = !request.json && !request.eachLabel
    progress = ProgressLine(streams: streams)
    warnings = WarningLog(progress)
    model = try Self.openModel(request)
    session = try Self.openSession(request, model, warnings)
    pet = try Self.readVolume(request.pet, request.petUnit, request.suvFactor)
    ct = try Self.readVolume(request.ct, PETAR_UNIT_HU)
    mask = try Self.readVolume(request.mask, PETAR_UNIT_LABEL)
    Self.cancelOnInterrupt(session)
  }

  deinit {
    for volume in [pet, ct, mask] { petar_volume_free(volume) }
    petar_session_free(session)
    petar_model_free(model)
  }

  /// One lesion: streamed text, or its JSON object.
  func describe() throws {
    if let folder = request.dump { try dump(to: folder) }
    let finding = try describe(label: request.label)
    defer { petar_finding_free(finding) }
    Console.out(streams ? "\n" : try string { petar_finding_json(finding, $0, $1) } + "\n")
  }

  /// Every label, a JSON object a line as each lesion is finished. One that fails has a line too and stops no other.
  func describeEachLabel() throws {
    let labels = try array(of: Int32(0)) { petar_volume_labels(mask, $0, $1) }
    guard !labels.isEmpty else {
      throw PetarError(PETAR_ERROR_EMPTY_MASK, "\(request.mask): the mask is empty")
    }
    let lines = LesionLines(labels, progress)
    var batch = petar_batch_params()
    petar_batch_params_init(&batch, MemoryLayout<petar_batch_params>.stride)
    batch.width = request.batch
    batch.user_data = Unmanaged.passUnretained(lines).toOpaque()
    batch.on_finding = { lines, index, status, message, finding in
      defer { petar_finding_free(finding) }
      guard let lines else { return }
      Unmanaged<LesionLines>.fromOpaque(lines).takeUnretainedValue().write(index, status, message, finding)
    }
    let exams = labels.map { exam(label: $0) }
    let status = withParams { params in
      withExtendedLifetime(lines) { petar_describe_batch(session, exams, exams.count, params, &batch) }
    }
    progress.clear()
    if status != PETAR_OK && status != PETAR_CANCELLED && lines.anyFailed {
      throw PetarError(status, "not every lesion could be described (see above)")
    }
    try check(status)
  }

  private func describe(label: Int32) throws -> OpaquePointer {
    var finding: OpaquePointer?
    var exam = exam(label: label)
    let status = withParams { petar_describe(session, &exam, $0, &finding) }
    progress.clear()
    try check(status)
    guard let finding else { throw PetarError(last: PETAR_ERROR_INTERNAL) }
    return finding
  }

  private func withParams(_ body: (UnsafePointer<petar_describe_params>) -> petar_status) -> petar_status {
    var params = petar_describe_params()
    petar_describe_params_init(&params, MemoryLayout<petar_describe_params>.stride)
    params.max_tokens = request.maxTokens
    params.temperature = request.temperature
    params.top_p = request.topP
    params.seed = request.seed
    params.user_data = Unmanaged.passUnretained(self).toOpaque()
    params.on_progress = { describer, stage, fraction in
      guard let describer, let stage else { return }
      Unmanaged<Describer>.fromOpaque(describer).takeUnretainedValue().progress
        .show(String(cString: stage), fraction)
    }
    if streams {
      params.on_token = { describer, text, _, _ in
        guard let describer, let text else { return }
        Unmanaged<Describer>.fromOpaque(describer).takeUnretainedValue().progress.clear()
        Console.out(String(cString: text))
      }
    }
    return withOptionalCString(request.question) { question in
      params.question = question
      return body(&params)
    }
  }

  private func exam(label: Int32) -> petar_exam {
    var exam = petar_exam()
    petar_exam_init(&exam, MemoryLayout<petar_exam>.stride)
    exam.pet = pet
    exam.ct = ct
    exam.mask = mask
    exam.label = label
    exam.ct_outside = Int32(request.ctOutside.rawValue)
    return exam
  }

  /// The six arrays, the vision tokens and the logits of the first generated token, for whoever wants to look.
  private func dump(to folder: String) throws {
    guard mkdir(folder, 0o777) == 0 || errno == EEXIST else {
      throw PetarError(PETAR_ERROR_IO, "\(folder): cannot be made: \(String(cString: strerror(errno)))")
    }
    var info = petar_model_info()
    info.struct_size = MemoryLayout<petar_model_info>.stride
    try check(petar_model_get_info(model, &info))
    var exam = exam(label: request.label)
    var views: OpaquePointer?
    try check(petar_prepare(session, &exam, &views))
    defer { petar_views_free(views) }
    let shape = [info.view_shape.0, info.view_shape.1, info.view_shape.2].map { Int($0) }
    for (index, name) in ["pet", "mask", "ct", "pet_focal", "mask_focal", "ct_focal"].enumerated() {
      let values = try array(of: Float(0)) { petar_views_array(views, Int32(index), $0, $1) }
      try NumpyFile.write(values, shape: shape, to: "\(folder)/\(name).npy")
    }
    let vision = try array(of: Float(0)) { petar_encode(session, views, $0, $1) }
    try NumpyFile.write(
      vision, shape: [Int(info.vision_tokens), Int(info.hidden_size)], to: "\(folder)/vision.npy")
    let prompt = try withOptionalCString(request.question) { question in
      try array(of: Int32(0)) { petar_model_prompt(model, question, $0, $1) }
    }
    let logits = try array(of: Float(0)) {
      petar_logits(session, vision, vision.count, prompt, prompt.count, 1, $0, $1)
    }
    try NumpyFile.write(logits, shape: [logits.count], to: "\(folder)/logits.npy")
  }

  private static func openModel(_ request: Request) throws -> OpaquePointer {
    var params = petar_model_params()
    petar_model_params_init(&params, MemoryLayout<petar_model_params>.stride)
    params.verify = request.verify ? 1 : 0
    var model: OpaquePointer?
    let status = withOptionalCString(request.isa) { isa in
      params.isa = isa
      return petar_model_open(request.model, &params, &model)
    }
    guard status == PETAR_OK, let model else { throw PetarError(last: status) }
    return model
  }

  private static func openSession(
    _ request: Request, _ model: OpaquePointer, _ warnings: WarningLog
  ) throws -> OpaquePointer {
    var params = petar_session_params()
    petar_session_params_init(&params, MemoryLayout<petar_session_params>.stride)
    params.threads = Int32(request.threads)
    params.log_user_data = Unmanaged.passUnretained(warnings).toOpaque()
    params.log = { warnings, _, message in
      guard let warnings, let message else { return }
      Unmanaged<WarningLog>.fromOpaque(warnings).takeUnretainedValue().show(String(cString: message))
    }
    var session: OpaquePointer?
    let status = petar_session_create(model, &params, &session)
    guard status == PETAR_OK, let session else { throw PetarError(last: status) }
    return session
  }

  private static func readVolume(_ path: String, _ unit: petar_unit, _ suvFactor: Double = 0) throws -> OpaquePointer {
    var volume: OpaquePointer?
    let status = petar_volume_read(path, Int32(unit.rawValue), suvFactor, &volume)
    guard status == PETAR_OK, let volume else { throw PetarError(last: status) }
    return volume
  }

  /// Control-C ends the work in order: a thread waits for it and cancels the session.
  private static func cancelOnInterrupt(_ session: OpaquePointer) {
    var signals = sigset_t()
    sigemptyset(&signals)
    sigaddset(&signals, SIGINT)
    pthread_sigmask(SIG_BLOCK, &signals, nil)
    var thread = pthread_t()
    pthread_create(
      &thread, nil,
      { session in
        var signals = sigset_t()
        sigemptyset(&signals)
        sigaddset(&signals, SIGINT)
        var signal: Int32 = 0
        while sigwait(&signals, &signal) == 0 { petar_session_cancel(session.map { OpaquePointer($0) }) }
        return nil
      }, UnsafeMutableRawPointer(session))
    pthread_detach(thread)
  }
}

private func withOptionalCString<Result>(
  _ text: String?, _ body: (UnsafePointer<CChar>?) throws -> Result
) rethrows -> Result {
  guard let text else { return try body(nil) }
  return try text.withCString(body)
}
