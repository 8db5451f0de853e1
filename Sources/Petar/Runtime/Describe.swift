import CPetar

/// How findings are to be written.
package struct DescribeRequest: Sendable {
  /// nil for the model's default question.
  package var question: String?
  /// 0 for the model's default.
  package var maxTokens = 0
  /// 0 for greedy decoding.
  package var temperature: Float = 0
  package var topP: Float = 1
  package var seed: UInt64 = 0
  /// For measurements: the tokens that are written, again from the first after the last, whatever the model would say.
  package var replay: [Int32]?
  /// Whether tokens are guessed ahead. It changes no text; measurements go without.
  package var drafts = true
  /// For experiments: what becomes of the six arrays before they are encoded.
  package var alterViews: (@Sendable (Views) throws -> Views)?

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

/// What a caller wants to hear while findings are written. All run on the calling thread.
package struct DescribeObserver {
  /// Which of the exams, a piece of its text (whole characters, maybe none yet) and the id it came with; nil for the
  /// last, idless piece.
  package var onToken: (Int, String, Int32?) -> Void = { _, _, _ in }
  /// Stage and the share of it that is done, for all exams together.
  package var onProgress: (StaticString, Double) -> Void = { _, _ in }
  /// Told before an exam's first token, so that they do not end up in the middle of the text.
  package var onWarnings: ([String]) -> Void = { _ in }

  package init() {}
}

extension Session {
  /// Describes one lesion.
  package func describe(
    _ exam: Exam, _ request: DescribeRequest = .init(), observer: DescribeObserver = .init()
  ) throws -> Finding {
    var result: Result<Finding, PetarError>?
    try describe([exam], request, width: 1, observer: observer) { result = $1 }
    guard let result else { throw PetarError(PETAR_ERROR_INTERNAL, "the lesion was lost on its way") }
    return try result.get()
  }

  /// Describes lesions, up to `width` of them side by side: six arrays, vision tokens and prompt of one after the other,
  /// then a token or more of each in every reading of the decoder. Those that are finished leave, others enter. Each
  /// text is the one that the lesion described alone would get, bit for bit.
  ///
  /// - Parameter onResult: called once for each exam, as soon as it is finished or has failed.
  /// - Throws: what is wrong with the request, before any work, and `PETAR_CANCELLED`, after `onResult` was told so for
  ///   every exam that was not finished.
  package func describe(
    _ exams: [Exam], _ request: DescribeRequest = .init(), width: Int, observer: DescribeObserver = .init(),
    onResult: (Int, Result<Finding, PetarError>) -> Void
  ) throws {
    try request.validate()
    try exclusively {
      try withoutActuallyEscaping(onResult) { onResult in
        try Batch(self, exams, request, width: width, observer, onResult).run()
      }
    }
  }
}
