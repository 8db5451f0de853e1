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
  private let busy = Atomic<Bool>(false)
  private let cancelled = Atomic<Bool>(false)

  package init(model: Model, pool: ThreadPool) throws {
    self.model = model
    compute = Compute(model.instructionSet, pool: pool)
    drafts = Drafts(typical: model.typicalFindings)
    decoder = try LanguageDecoder(model.description, model.decoder, compute, scratch)
  }

  /// Makes the call that is now running return `PETAR_CANCELLED`; without one it does nothing. Any thread.
  package func cancel() {
    if busy.load(ordering: .acquiring) { cancelled.store(true, ordering: .releasing) }
  }

  /// Runs `body` as the session's only call.
  /// - Throws: `PETAR_ERROR_BUSY` when another thread is inside one.
  func exclusively<Result>(_ body: () throws -> Result) throws -> Result {
    guard busy.compareExchange(expected: false, desired: true, ordering: .acquiring).exchanged else {
      throw PetarError(
        PETAR_ERROR_BUSY, "the session is serving another thread; give each thread a session of its own")
    }
    cancelled.store(false, ordering: .releasing)
    defer { busy.store(false, ordering: .releasing) }
    return try withDefaultFloatingPoint(body)
  }

  var isCancelled: Bool { cancelled.load(ordering: .relaxed) }

  func checkCancelled() throws {
    if isCancelled { throw PetarError(PETAR_CANCELLED, "the call was cancelled; the session can be used again") }
  }

  // ---- Steps -------------------------------------------------------------------------------------------------

  /// The six arrays of an exam.
  package func prepare(_ exam: Exam) throws -> Views {
    try exclusively { try views(of: exam) { _ in } }
  }

  /// Vision tokens: `visionTokens` x decoder width.
  package func encode(_ views: Views) throws -> Buffer<Float> {
    try exclusively { try tokens(of: views) { _ in } }
  }

  /// Logits after each of the last `last` positions of `ids`: `last` x vocabulary.
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
    }
  }

  func views(of exam: Exam, shared: PreparedExam = PreparedExam(), _ progress: (Double) -> Void) throws -> Views {
    let views = try prepareViews(
      exam, model.description.views, shared: shared, pool: compute.pool, isCancelled: { isCancelled },
      progress: progress)
    try checkCancelled()
    return views
  }

  func tokens(of views: Views, _ progress: (Double) -> Void) throws -> Buffer<Float> {
    let encoder = VisionEncoder(
      model: model.description, weights: model.vision, compute: compute, scratch: scratch,
      checkpoint: { try self.checkCancelled() })
    return try encoder.encode(views, progress: progress)
  }
}
