/// A lesion whose finding is being written: its text in the decoder, and what has come out so far.
final class Lane {
  /// Which of the exams it is.
  let index: Int
  let sequence: DecoderSequence
  let views: Views
  private(set) var tokens: [Int32] = []
  private(set) var text = ""
  /// nil while there is more to write.
  private(set) var stopReason: Finding.StopReason?
  /// Readings of the decoder after the prompt.
  private(set) var passes = 0
  var timings: Finding.Timings
  let clock = Stopwatch()

  private let maxTokens: Int
  private let endOfText: [Int32]
  private let replay: [Int32]?
  private let learns: Bool
  private var sampler: Sampler
  private var stream: StreamDecoder
  /// The question and the tokens written: what drafts are matched with.
  private var context: [Int32]
  private var draft = Drafts.Draft()
  private var drafted: [Int32] = []

  /// - Parameter sequence: with the prompt read.
  init(
    index: Int, _ sequence: DecoderSequence, _ views: Views, _ model: Model, question: [Int32], maxTokens: Int,
    _ request: DescribeRequest, timings: Finding.Timings
  ) {
    self.index = index
    self.sequence = sequence
    self.views = views
    self.maxTokens = maxTokens
    self.timings = timings
    endOfText = model.description.prompt.endOfText
    replay = request.replay
    learns = request.drafts
    sampler = Sampler(temperature: request.temperature, topP: request.topP, seed: request.seed)
    stream = StreamDecoder(model.tokenizer)
    context = question
    context.reserveCapacity(question.count + maxTokens)
    tokens.reserveCapacity(maxTokens)
    // Longer than most texts of so many tokens.
    text.reserveCapacity(8 * maxTokens)
    drafted.reserveCapacity(Drafts.limit)
  }

  /// Hands the decoder the last token and what may follow it.
  /// - Parameter limit: tokens drafted at most.
  func prepareStep(_ drafts: inout Drafts, limit: Int, texts: Int) {
    guard let last = tokens.last else { return }
    // What would come behind the last token is thrown away.
    let room = min(limit, maxTokens - tokens.count - 1)
    draft = drafts.propose(after: context, limit: room, texts: texts, into: &drafted)
    sequence.pending.append(last)
    sequence.pending += drafted
    sequence.wanted = sequence.pending.count
    passes += 1
  }

  /// The rows of logits that the step takes.
  var rows: Int { drafted.count + 1 }

  /// Takes the tokens that `rows` rows of logits call for: one, and one more for each drafted token that is right.
  /// - Parameter emit: a piece of text and its token, as `DescribeObserver.onToken` hears them.
  /// - Throws: `PETAR_ERROR_NOT_FINITE`, and what `emit` throws.
  func take(
    _ logits: UnsafePointer<Float>, vocabulary: Int, _ drafts: inout Drafts, emit: (String, Int32?) throws -> Void
  ) throws {
    let length = sequence.length - drafted.count
    var right = 0
    while true {
      let token = try next(UnsafeBufferPointer(start: logits + right * vocabulary, count: vocabulary))
      if endOfText.contains(token) {
        stopReason = .endOfText
        break
      }
      tokens.append(token)
      context.append(token)
      let piece = stream.push(token)
      text += piece
      try emit(piece, token)
      if tokens.count >= maxTokens {
        stopReason = .maxTokens
        break
      }
      guard right < drafted.count, drafted[right] == token else { break }
      right += 1
    }
    sequence.truncate(to: length + right)
    drafts.judge(draft, accepted: right)
    draft = Drafts.Draft()
    drafted.removeAll(keepingCapacity: true)
    guard stopReason != nil else { return }
    let rest = stream.finish()
    if !rest.isEmpty {
      text += rest
      try emit(rest, nil)
    }
    timings.decode = clock.seconds
    if learns { drafts.learn(written: tokens) }
  }

  private func next(_ logits: UnsafeBufferPointer<Float>) throws -> Int32 {
    if let replay, !replay.isEmpty { return replay[tokens.count % replay.count] }
    return try sampler.next(logits)
  }
}
