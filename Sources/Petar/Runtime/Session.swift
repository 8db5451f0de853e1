import CPetar
import Synchronization

/// One caller's state over a shared model: threads, keys and values, scratch memory, the cancel flag.
///
/// Serves one call at a time; a second one is refused, never mixed up with the first.
package final class Session: @unchecked Sendable {
  package let model: Model
  let compute: Compute
  let scratch = Scratch()
  let decoder: LanguageDecoder
  package var drafts: Drafts
  /// Whether a call is on and whether it was cancelled, below the calls' count: a cancel reaches the call that it found
  /// running, and never the one after it.
  private let call = Atomic<UInt64>(0)

  package init(model: Model, pool: ThreadPool) throws {
    self.model = model
    compute = Compute(model.instructionSet, pool: pool)
    drafts = Drafts(typical: model.typicalFindings)
    decoder = try LanguageDecoder(model.description, model.decoder, compute, scratch)
  }

  /// Makes the call that is now running return `PETAR_CANCELLED`; without one it does nothing. Any thread.
  package func cancel() {
    let word = call.load(ordering: .relaxed)
    guard word & Call.all == Call.running else { return }
    _ = call.compareExchange(expected: word, desired: word | Call.cancelled, ordering: .relaxed)
  }

  /// Runs `body` as the session's only call.
  /// - Throws: `PETAR_ERROR_BUSY` when there is one already, of another thread or with a callback that asks.
  func exclusively<Result>(_ body: () throws -> Result) throws -> Result {
    let idle = call.load(ordering: .relaxed)
    let running = idle | Call.running
    guard idle & Call.all == 0, call.compareExchange(expected: idle, desired: running, ordering: .acquiring).exchanged
    else {
      throw PetarError(
        PETAR_ERROR_BUSY, "the session is already in a call; wait for its end, or give each thread its own session")
    }
    defer { call.store((running | Call.all) &+ 1, ordering: .releasing) }
    return try withDefaultFloatingPoint(body)
  }

  var isCancelled: Bool { call.load(ordering: .relaxed) & Call.cancelled != 0 }

  func checkCancelled() throws {
    if isCancelled { throw PetarError(PETAR_CANCELLED, "the call was cancelled; the session can be used again") }
  }

  private enum Call {
    static let running: UInt64 = 1
    static let cancelled: UInt64 = 2
    static let all: UInt64 = 3
  }

  // ---- Steps -------------------------------------------------------------------------------------------------

  /// The six arrays of an exam.
  package func prepare(_ exam: Exam) throws -> Views {
    try exclusively { try views(of: exam) { _ in } }
  }

  /// Vision tokens: `visionTokens` x decoder width.
  /// - Throws: `PETAR_ERROR_NOT_FINITE` among others.
  package func encode(_ views: Views) throws -> Buffer<Float> {
    let encoded = try exclusively { try tokens(of: views) { _ in } }
    try requireFinite(UnsafeBufferPointer(encoded.elements))
    return encoded
  }

  /// Logits after each of the last `last` positions of `ids`: `last` x vocabulary.
  /// - Throws: `PETAR_ERROR_NOT_FINITE` among others; what is in `logits` then means nothing.
  package func logits(
    vision: UnsafeBufferPointer<Float>?, ids: [Int32], last: Int, into logits: UnsafeMutablePointer<Float>
  ) throws {
    try exclusively {
      let shape = model.description
      for id in ids where id < 0 || Int(id) >= shape.decoder.vocabulary {
        throw PetarError(
          PETAR_ERROR_BAD_TEXT, "token \(id) lies outside the vocabulary of \(shape.decoder.vocabulary)")
      }
      let imageTokens = ids.count { $0 == shape.prompt.imageToken }
      let rows = (vision?.count ?? 0) / shape.decoder.width
      guard rows == imageTokens, (vision?.count ?? 0) % shape.decoder.width == 0 else {
        throw PetarError(
          PETAR_ERROR_INVALID_ARGUMENT,
          "ids hold \(imageTokens) image tokens, vision holds \(vision?.count ?? 0) numbers; "
            + "give \(shape.decoder.width) numbers for each image token")
      }
      let text = try decoder.sequence(positions: ids.count)
      text.pending = ids
      text.vision = vision?.baseAddress
      text.wanted = last
      try decoder.read(CollectionOfOne(text), logits: logits) { _ in try checkCancelled() }
      decoder.keep(text)
      try requireFinite(UnsafeBufferPointer(start: logits, count: last * shape.decoder.vocabulary))
    }
  }

  func views(of exam: Exam, shared: PreparedExam = PreparedExam(), _ progress: (Double) -> Void) throws -> Views {
    let views = try prepareViews(
      exam, model.description.views, shared: shared, pool: compute.pool, isCancelled: { isCancelled },
      progress: progress)
    try checkCancelled()
    return views
  }

  func tokens(
    of views: Views, shared: SharedPass? = nil, _ progress: (Double) -> Void
  ) throws -> Buffer<Float> {
    let encoder = VisionEncoder(
      model: model.description, weights: model.vision, compute: compute, scratch: scratch, shared: shared,
      checkpoint: { try self.checkCancelled() })
    return try encoder.encode(views, progress: progress)
  }
}
