import CPetar

/// Lesions on their way to findings, several side by side: see `Session.describe`.
final class Batch {
  private let session: Session
  private let exams: [Exam]
  private let request: DescribeRequest
  private let width: Int
  private let observer: DescribeObserver
  private let onResult: (Int, Result<Finding, PetarError>) -> Void

  private let prompt: [Int32]
  private let maxTokens: Int
  private let logits: Buffer<Float>
  private var shared = PreparedExam()
  /// nil where there is no other lesion.
  private let sharedPass: SharedPass?
  private var lanes: [Lane] = []
  /// Exams that have been begun, and those that are finished or have failed.
  private var begun = 0
  private var ended = 0

  private var model: Model { session.model }
  private var description: ModelDescription { session.model.description }

  /// What is wrong with the question is said here, before the long work.
  init(
    _ session: Session, _ exams: [Exam], _ request: DescribeRequest, width: Int, _ observer: DescribeObserver,
    _ onResult: @escaping (Int, Result<Finding, PetarError>) -> Void
  ) throws {
    self.session = session
    self.exams = exams
    sharedPass = exams.count > 1 ? SharedPass() : nil
    self.request = request
    self.width = min(max(width, 1), Self.mostRows)
    self.observer = observer
    self.onResult = onResult
    let description = session.model.description
    prompt = try session.model.prompt(question: request.question)
    maxTokens = request.maxTokens == 0 ? description.prompt.maxTokens : request.maxTokens
    guard prompt.count(where: { $0 == description.prompt.imageToken }) == description.visionTokens else {
      throw PetarError(PETAR_ERROR_BAD_TEXT, "the question contains the image token itself; ask it without")
    }
    let (positions, overflow) = prompt.count.addingReportingOverflow(maxTokens)
    try session.decoder.checkRoom(positions: overflow ? Int.max : positions)
    logits = try Buffer(count: Self.mostRows * description.decoder.vocabulary)
  }

  /// Rows of a step at most: more would take longer to compute than the weights take to come from memory.
  static let mostRows = 16

  func run() throws {
    do {
      while begun < exams.count || !lanes.isEmpty {
        while lanes.count < width, begun < exams.count {
          begun += 1
          try begin(begun - 1)
          try session.checkCancelled()
        }
        if !lanes.isEmpty { try step() }
        try session.checkCancelled()
      }
    } catch {
      // Nothing is lost without a word.
      let error = asPetarError(error)
      for lane in lanes { onResult(lane.index, .failure(error)) }
      for index in begun..<exams.count { onResult(index, .failure(error)) }
      throw error
    }
  }

  // ---- A lesion's way in ---------------------------------------------------------------------------------------------

  /// Prepares, encodes and reads the prompt; an exam that cannot be described has a result at once.
  private func begin(_ index: Int) throws {
    do {
      let lane = try makeLane(index)
      lanes.append(lane)
      try take(lane, logits.base)
      leave()
    } catch {
      let error = asPetarError(error)
      end(index, .failure(error))
      if error.status == PETAR_CANCELLED { throw error }
    }
  }

  private func makeLane(_ index: Int) throws -> Lane {
    func report(_ stage: StaticString, _ fraction: Double) {
      observer.onProgress(stage, (Double(index) + fraction) / Double(exams.count))
    }
    var timings = Finding.Timings()
    timings.load = model.loadSeconds
    var clock = Stopwatch()
    var views = try session.views(of: exams[index], shared: shared) { report("prepare", $0) }
    // Nobody comes after the last one: its images need not stay in memory while the model works.
    if index + 1 == exams.count { shared = PreparedExam() }
    if let alterViews = request.alterViews { views = try alterViews(views) }
    timings.prepare = clock.seconds
    observer.onWarnings(model.warnings + views.warnings)

    clock = Stopwatch()
    let vision = try session.tokens(of: views, shared: sharedPass) { report("encode", $0) }
    timings.encode = clock.seconds

    clock = Stopwatch()
    let sequence = try session.decoder.sequence(positions: prompt.count + maxTokens)
    try withExtendedLifetime(vision) {
      sequence.pending = prompt
      sequence.vision = UnsafePointer(vision.base)
      sequence.wanted = 1
      defer { sequence.vision = nil }
      try session.decoder.read(CollectionOfOne(sequence), logits: logits.base) {
        report("prefill", $0)
        try session.checkCancelled()
      }
    }
    report("prefill", 1)
    timings.prefill = clock.seconds
    let question = prompt.filter { $0 != description.prompt.imageToken }
    return Lane(
      index: index, sequence, views, model, question: question, maxTokens: maxTokens, request, timings: timings)
  }

  // ---- Tokens --------------------------------------------------------------------------------------------------------

  /// One reading of the decoder for all lanes.
  private func step() throws {
    let drafted = request.drafts ? min(Drafts.limit, Self.mostRows / lanes.count - 1) : 0
    for lane in lanes { lane.prepareStep(&session.drafts, limit: drafted, texts: lanes.count) }
    try session.decoder.read(lanes.lazy.map(\.sequence), logits: logits.base) { _ in try session.checkCancelled() }
    var row = UnsafePointer(logits.base)
    for lane in lanes {
      let rows = lane.rows
      do {
        try take(lane, row)
      } catch {
        end(lane.index, .failure(asPetarError(error)))
      }
      row += rows * description.decoder.vocabulary
    }
    leave()
  }

  private func take(_ lane: Lane, _ logits: UnsafePointer<Float>) throws {
    try lane.take(logits, vocabulary: description.decoder.vocabulary, &session.drafts) { piece, token in
      observer.onToken(lane.index, piece, token)
      // The tokens of a step that come behind a cancelled one are not heard of.
      try session.checkCancelled()
    }
    reportDecode()
  }

  private func reportDecode() {
    // In whole tokens, so that rounding never takes a step back.
    let written = lanes.reduce(ended * maxTokens) { $0 + $1.tokens.count }
    observer.onProgress("decode", Double(written) / Double(exams.count * maxTokens))
  }

  /// Finished lesions make room.
  private func leave() {
    var at = 0
    while at < lanes.count {
      let lane = lanes[at]
      if let stopReason = lane.stopReason {
        session.decoder.keep(lane.sequence)
        end(lane.index, .success(finding(lane, stopReason)))
      } else {
        at += 1
      }
    }
  }

  private func end(_ index: Int, _ result: Result<Finding, PetarError>) {
    ended += 1
    lanes.removeAll { $0.index == index }
    if case .success = result { reportDecode() }
    onResult(index, result)
  }

  private func finding(_ lane: Lane, _ stopReason: Finding.StopReason) -> Finding {
    Finding(
      text: lane.text, tokens: lane.tokens, question: request.question ?? description.prompt.question,
      stopReason: stopReason, passes: lane.passes, settings: settings, timings: lane.timings,
      geometry: lane.views.geometry, model: model.identity, warnings: model.warnings + lane.views.warnings)
  }

  private var settings: JSON {
    let greedy = request.temperature == 0
    return .object([
      ("max_tokens", .integer(maxTokens)),
      ("decoding", .string(greedy ? "greedy" : "nucleus sampling")),
      ("temperature", .number(Double(request.temperature))),
      ("top_p", greedy ? .null : .number(Double(request.topP))),
      ("seed", greedy ? .null : .string(String(request.seed))),
      ("threads", .integer(session.compute.pool.threads)),
      ("instruction_set", .string(model.instructionSet.name)),
    ])
  }
}
