import CPetar

@c @implementation
public func petar_exam_init(_ exam: UnsafeMutablePointer<petar_exam>?, _ structSize: Int) {
  initialize(exam, structSize, petar_exam())
}

@c @implementation
public func petar_describe_params_init(_ params: UnsafeMutablePointer<petar_describe_params>?, _ structSize: Int) {
  initialize(params, structSize, describeDefaults)
}

private var describeDefaults: petar_describe_params {
  var params = petar_describe_params()
  params.top_p = 1
  return params
}

@c @implementation
public func petar_describe(
  _ session: OpaquePointer?, _ exam: UnsafePointer<petar_exam>?, _ params: UnsafePointer<petar_describe_params>?,
  _ finding: UnsafeMutablePointer<OpaquePointer?>?
) -> petar_status {
  status {
    let finding = try require(finding, "finding")
    finding.pointee = nil
    let handle = try object(session, as: SessionHandle.self, "session")
    let exam = try readExam(exam)
    let params = try readParams(params)

    var observer = observer(handle, params)
    if let onToken = params.on_token {
      observer.onToken = { _, text, token in
        text.withCString { onToken(params.user_data, $0, text.utf8.count, token ?? -1) }
      }
    }
    let written = try handle.session.describe(exam, try request(params), observer: observer)
    finding.pointee = hand(Handle(written))
  }
}

@c @implementation
public func petar_batch_params_init(_ params: UnsafeMutablePointer<petar_batch_params>?, _ structSize: Int) {
  initialize(params, structSize, petar_batch_params())
}

@c @implementation
public func petar_describe_batch(
  _ session: OpaquePointer?, _ exams: UnsafePointer<petar_exam>?, _ count: Int,
  _ params: UnsafePointer<petar_describe_params>?, _ batch: UnsafePointer<petar_batch_params>?
) -> petar_status {
  status {
    let handle = try object(session, as: SessionHandle.self, "session")
    let exams = try readExams(exams, count)
    let params = try readParams(params)
    guard params.on_token == nil else {
      throw invalid("params->on_token cannot say which lesion a token is of; leave it NULL and use batch->on_finding")
    }
    let batch = try read(try require(batch, "batch"), over: petar_batch_params(), first: 32, "batch")
    let onFinding = try require(batch.on_finding, "batch->on_finding")
    guard (0...16).contains(batch.width) else {
      throw invalid("batch->width is \(batch.width); give 1 to 16, or 0 for 8")
    }
    var first: PetarError?
    try handle.session.describe(
      exams, try request(params), width: batch.width == 0 ? 8 : Int(batch.width), observer: observer(handle, params)
    ) { index, result in
      switch result {
      case .success(let finding): onFinding(batch.user_data, index, PETAR_OK, "", hand(Handle(finding)))
      case .failure(let error):
        first = first ?? error
        error.message.withCString { onFinding(batch.user_data, index, error.status, $0, nil) }
      }
    }
    if let first { throw first }
  }
}

private func readParams(_ params: UnsafePointer<petar_describe_params>?) throws -> petar_describe_params {
  try params.map { try read($0, over: describeDefaults, first: 64, "params") } ?? describeDefaults
}

private func request(_ params: petar_describe_params) throws -> DescribeRequest {
  var request = DescribeRequest()
  request.question = try params.question.map { try text($0, "params->question") }
  request.maxTokens = Int(params.max_tokens)
  request.temperature = params.temperature
  request.topP = params.top_p
  request.seed = params.seed
  return request
}

/// Warnings and progress go to the caller.
private func observer(_ handle: SessionHandle, _ params: petar_describe_params) -> DescribeObserver {
  var observer = DescribeObserver()
  observer.onWarnings = { handle.warn($0) }
  if let onProgress = params.on_progress {
    observer.onProgress = { stage, fraction in
      stage.withUTF8Buffer { utf8 in
        utf8.withMemoryRebound(to: CChar.self) { onProgress(params.user_data, $0.baseAddress, fraction) }
      }
    }
  }
  return observer
}

@c @implementation
public func petar_finding_free(_ finding: OpaquePointer?) { release(finding, as: Handle<Finding>.self) }

@c @implementation
public func petar_finding_text(
  _ finding: OpaquePointer?, _ buffer: UnsafeMutablePointer<CChar>?, _ size: UnsafeMutablePointer<Int>?
) -> petar_status {
  status { try handOut(try object(finding, as: Handle<Finding>.self, "finding").value.text, buffer, size) }
}

@c @implementation
public func petar_finding_tokens(
  _ finding: OpaquePointer?, _ ids: UnsafeMutablePointer<Int32>?, _ count: UnsafeMutablePointer<Int>?
) -> petar_status {
  status { try handOut(try object(finding, as: Handle<Finding>.self, "finding").value.tokens, ids, count) }
}

@c @implementation
public func petar_finding_json(
  _ finding: OpaquePointer?, _ buffer: UnsafeMutablePointer<CChar>?, _ size: UnsafeMutablePointer<Int>?
) -> petar_status {
  status { try handOut(try object(finding, as: Handle<Finding>.self, "finding").value.json.text, buffer, size) }
}

// ---- Step by step ---------------------------------------------------------------------------------------------

/// The six arrays, and what the model that they were made for wants them to be like.
private struct PreparedViews: Sendable {
  let views: Views
  let description: ModelDescription.Views
}

@c @implementation
public func petar_prepare(
  _ session: OpaquePointer?, _ exam: UnsafePointer<petar_exam>?, _ views: UnsafeMutablePointer<OpaquePointer?>?
) -> petar_status {
  status {
    let views = try require(views, "views")
    views.pointee = nil
    let handle = try object(session, as: SessionHandle.self, "session")
    let prepared = try handle.session.prepare(try readExam(exam))
    handle.warn(prepared.warnings)
    views.pointee = hand(Handle(PreparedViews(views: prepared, description: handle.session.model.description.views)))
  }
}

@c @implementation
public func petar_views_free(_ views: OpaquePointer?) { release(views, as: Handle<PreparedViews>.self) }

@c @implementation
public func petar_views_array(
  _ views: OpaquePointer?, _ which: Int32, _ buffer: UnsafeMutablePointer<Float>?,
  _ count: UnsafeMutablePointer<Int>?
) -> petar_status {
  status {
    let views = try object(views, as: Handle<PreparedViews>.self, "views").value.views
    guard views.arrays.indices.contains(Int(which)) else {
      throw invalid("which is \(which), not one of petar_view_array")
    }
    let array = views.arrays[Int(which)]
    try withExtendedLifetime(array) { try handOut(UnsafeBufferPointer(array.elements), buffer, count) }
  }
}

@c @implementation
public func petar_views_geometry(
  _ views: OpaquePointer?, _ buffer: UnsafeMutablePointer<CChar>?, _ size: UnsafeMutablePointer<Int>?
) -> petar_status {
  status {
    let views = try object(views, as: Handle<PreparedViews>.self, "views").value.views
    try handOut(views.geometry.text, buffer, size)
  }
}

@c @implementation
public func petar_encode(
  _ session: OpaquePointer?, _ views: OpaquePointer?, _ tokens: UnsafeMutablePointer<Float>?,
  _ count: UnsafeMutablePointer<Int>?
) -> petar_status {
  status {
    let session = try object(session, as: SessionHandle.self, "session").session
    let prepared = try object(views, as: Handle<PreparedViews>.self, "views").value
    let needed = session.model.description.visionTokens * session.model.description.decoder.width
    guard try fits(needed, tokens, count) else { return }
    guard prepared.description == session.model.description.views else {
      throw invalid("the views were prepared for another model: their shape or windows differ from this model's")
    }
    let encoded = try session.encode(prepared.views)
    try withExtendedLifetime(encoded) { try handOut(UnsafeBufferPointer(encoded.elements), tokens, count) }
  }
}

@c @implementation
public func petar_logits(
  _ session: OpaquePointer?, _ vision: UnsafePointer<Float>?, _ visionCount: Int, _ ids: UnsafePointer<Int32>?,
  _ idCount: Int, _ last: Int, _ logits: UnsafeMutablePointer<Float>?, _ count: UnsafeMutablePointer<Int>?
) -> petar_status {
  status {
    let session = try object(session, as: SessionHandle.self, "session").session
    let ids = try array(ids, idCount, "ids")
    guard !ids.isEmpty, last >= 1, last <= ids.count else {
      throw invalid("last is \(last), ids hold \(ids.count); ask for the logits of 1 to \(ids.count) positions")
    }
    guard visionCount >= 0, visionCount == 0 || vision != nil, visionCount <= 1 << 32 else {
      throw invalid("vision_count is \(UInt(bitPattern: visionCount)) and vision is \(vision == nil ? "" : "not ")NULL")
    }
    guard let needed = product(last, session.model.description.decoder.vocabulary),
      try fits(needed, logits, count), let logits
    else { return }
    try session.logits(
      vision: visionCount == 0 ? nil : UnsafeBufferPointer(start: vision, count: visionCount), ids: ids, last: last,
      into: logits)
  }
}

/// Bytes of `petar_exam` in 0.1.0.
private let examSize = 40

/// The caller's array, whose elements may be smaller or larger than this library's.
private func readExams(_ pointer: UnsafePointer<petar_exam>?, _ count: Int) throws -> [Exam] {
  guard count >= 0, count <= 1 << 20 else { throw invalid("count is \(UInt(bitPattern: count)), more than 1048576") }
  if count == 0 { return [] }
  let raw = UnsafeRawPointer(try require(pointer, "exams"))
  let stride = raw.loadUnaligned(as: Int.self)
  guard stride >= examSize, stride <= 1 << 16, stride % MemoryLayout<petar_exam>.alignment == 0
  else { throw invalid("exams[0].struct_size is \(UInt(bitPattern: stride)); fill each exam with petar_exam_init") }
  return try (0..<count).map { index in
    let exam = raw + index * stride
    guard exam.loadUnaligned(as: Int.self) == stride else {
      throw invalid("exams[\(index)].struct_size differs from that of exams[0]; fill each exam with petar_exam_init")
    }
    do {
      return try readExam(exam.assumingMemoryBound(to: petar_exam.self))
    } catch {
      let error = asPetarError(error)
      throw PetarError(error.status, "exams[\(index)]: \(error.message)")
    }
  }
}

private func readExam(_ pointer: UnsafePointer<petar_exam>?) throws -> Exam {
  let exam = try read(try require(pointer, "exam"), over: petar_exam(), first: examSize, "exam")
  func volume(_ pointer: OpaquePointer?, _ name: StaticString) throws -> Volume {
    try object(pointer, as: Handle<Volume>.self, name).value
  }
  guard exam.label >= 0 else { throw invalid("exam->label is \(exam.label); give a label or 0 for all") }
  guard let ctOutside = Exam.CTOutside(rawValue: exam.ct_outside) else {
    throw invalid("exam->ct_outside is \(exam.ct_outside), not one of petar_ct_outside")
  }
  return Exam(
    pet: try volume(exam.pet, "exam->pet"), ct: try volume(exam.ct, "exam->ct"),
    mask: try volume(exam.mask, "exam->mask"), label: exam.label, ctOutside: ctOutside)
}
