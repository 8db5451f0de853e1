import CPetar

/// How a finding is to be written.
package struct DescribeRequest: Sendable {
  /// nil for the model's default question.
  package var question: String?
  /// 0 for the model's default.
  package var maxTokens = 0
  /// 0 for greedy decoding.
  package var temperature: Float = 0
  package var topP: Float = 1
  package var seed: UInt64 = 0

  package init() {}

  func validate() throws {
    guard maxTokens >= 0 else {
      throw PetarError(PETAR_ERROR_INVALID_ARGUMENT, "max_tokens is \(maxTokens); give 0 for the default or more")
    }
    guard temperature.isFinite, temperature >= 0 else {
      throw PetarError(PETAR_ERROR_INVALID_ARGUMENT, "temperature is \(temperature); give 0 (greedy) or more")
    }
    guard topP > 0, topP <= 1 else {
      throw PetarError(PETAR_ERROR_INVALID_ARGUMENT, "top_p is \(topP); give a number in (0, 1]")
    }
  }
}

/// What a caller wants to hear while a finding is written. All run on the calling thread.
package struct DescribeObserver {
  /// A piece of text (whole characters, maybe none yet) and the id it came with; nil for the last, idless piece.
  package var onToken: (String, Int32?) -> Void = { _, _ in }
  /// Stage and the share of it that is done.
  package var onProgress: (StaticString, Double) -> Void = { _, _ in }
  /// Told before the first token, so that they do not end up in the middle of the text.
  package var onWarnings: ([String]) -> Void = { _ in }

  package init() {}
}

extension Session {
  /// Describes one lesion: six arrays, vision tokens, prompt, and one token after another.
  package func describe(
    _ exam: Exam, _ request: DescribeRequest = .init(), observer: DescribeObserver = .init()
  ) throws -> Finding {
    try request.validate()
    return try exclusively {
      // What is wrong with the question is said before the long work.
      let prompt = try self.prompt(request)
      let maxTokens = request.maxTokens == 0 ? model.description.prompt.maxTokens : request.maxTokens
      let (positions, overflow) = prompt.count.addingReportingOverflow(maxTokens)
      try decoder.begin(positions: overflow ? Int.max : positions)

      var timings = Finding.Timings()
      timings.load = model.loadSeconds
      var clock = Stopwatch()
      let views = try views(of: exam) { observer.onProgress("prepare", $0) }
      timings.prepare = clock.seconds
      let warnings = modelWarnings + views.warnings
      observer.onWarnings(warnings)

      clock = Stopwatch()
      let vision = try tokens(of: views) { observer.onProgress("encode", $0) }
      timings.encode = clock.seconds

      let text = try write(prompt, vision, maxTokens, request, observer, &timings)
      return Finding(
        text: text.text, tokens: text.tokens, question: request.question ?? model.description.prompt.question,
        stopReason: text.stopReason, settings: settings(request), timings: timings, geometry: views.geometry,
        model: model.identity, warnings: warnings)
    }
  }

  private func prompt(_ request: DescribeRequest) throws -> [Int32] {
    let prompt = try model.prompt(question: request.question)
    guard prompt.count(where: { $0 == model.description.prompt.imageToken }) == model.description.visionTokens else {
      throw PetarError(
        PETAR_ERROR_BAD_TEXT, "the question contains the image token itself; ask it without")
    }
    return prompt
  }

  private func write(
    _ prompt: [Int32], _ vision: Buffer<Float>, _ maxTokens: Int, _ request: DescribeRequest,
    _ observer: DescribeObserver, _ timings: inout Finding.Timings
  ) throws -> (text: String, tokens: [Int32], stopReason: Finding.StopReason) {
    let description = model.description
    var clock = Stopwatch()
    let logits = try Buffer<Float>(count: description.decoder.vocabulary)
    try decoder.append(
      prompt, imageToken: description.prompt.imageToken, vision: vision.base, last: 1, logits: logits.base
    ) {
      observer.onProgress("prefill", $0)
      try checkCancelled()
    }
    observer.onProgress("prefill", 1)
    timings.prefill = clock.seconds

    clock = Stopwatch()
    var sampler = Sampler(temperature: request.temperature, topP: request.topP, seed: request.seed)
    var stream = StreamDecoder(model.tokenizer)
    var (text, tokens) = ("", [Int32]())
    var stopReason = Finding.StopReason.maxTokens
    while tokens.count < maxTokens {
      let token = try sampler.next(UnsafeBufferPointer(logits.elements))
      if description.prompt.endOfText.contains(token) {
        stopReason = .endOfText
        break
      }
      tokens.append(token)
      let piece = stream.push(token)
      text += piece
      observer.onToken(piece, token)
      observer.onProgress("decode", Double(tokens.count) / Double(maxTokens))
      if tokens.count < maxTokens {
        // A generated image token is a word like any other: it has no vision row.
        try decoder.append([token], imageToken: -1, vision: nil, last: 1, logits: logits.base) { _ in
          try checkCancelled()
        }
      }
    }
    try checkCancelled()
    let rest = stream.finish()
    if !rest.isEmpty {
      text += rest
      observer.onToken(rest, nil)
    }
    observer.onProgress("decode", 1)
    timings.decode = clock.seconds
    return (text, tokens, stopReason)
  }

  private func settings(_ request: DescribeRequest) -> JSON {
    let greedy = request.temperature == 0
    return .object([
      ("max_tokens", .integer(request.maxTokens == 0 ? model.description.prompt.maxTokens : request.maxTokens)),
      ("decoding", .string(greedy ? "greedy" : "nucleus sampling")),
      ("temperature", .number(Double(request.temperature))),
      ("top_p", greedy ? .null : .number(Double(request.topP))),
      ("seed", greedy ? .null : .string(String(request.seed))),
      ("threads", .integer(compute.pool.threads)),
      ("instruction_set", .string(model.instructionSet.name)),
    ])
  }

  private var modelWarnings: [String] {
    model.description.provenance.randomWeights
      ? ["the weights of this model are random: the text shows that the software runs and says nothing of the exam"]
      : []
  }
}
