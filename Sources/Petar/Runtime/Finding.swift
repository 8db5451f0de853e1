/// What `describe` returns: the text and everything needed to trace how it came about.
package struct Finding: Sendable {
  package enum StopReason: String, Sendable {
    case endOfText = "end_of_text"
    case maxTokens = "max_tokens"
  }

  /// Wall-clock seconds. `decode` of a lesion described beside others runs on while those enter.
  package struct Timings: Sendable {
    package var load = 0.0, prepare = 0.0, encode = 0.0, prefill = 0.0, decode = 0.0
  }

  package let text: String
  package let tokens: [Int32]
  package let question: String
  package let stopReason: StopReason
  /// Readings of the decoder after the prompt: as many as tokens, or fewer where drafts were right.
  package let passes: Int
  package let settings: JSON
  package let timings: Timings
  package let geometry: JSON
  package let model: JSON
  package let warnings: [String]

  package static let notice =
    "For research use only. Not a medical device. Numbers in the text are the language model's and were not measured."

  package var json: JSON {
    .object([
      ("finding", .string(text)),
      ("tokens", .integers(tokens.map { Int($0) })),
      ("question", .string(question)),
      ("stop_reason", .string(stopReason.rawValue)),
      ("decoder_passes", .integer(passes)),
      ("settings", settings),
      (
        "timings_s",
        .object([
          ("load", .number(timings.load)), ("prepare", .number(timings.prepare)), ("encode", .number(timings.encode)),
          ("prefill", .number(timings.prefill)), ("decode", .number(timings.decode)),
        ])
      ),
      ("geometry", geometry),
      ("model", model),
      ("library", .object([("version", .string("\(Library.version)"))])),
      ("notice", .string(Self.notice)),
      ("warnings", .array(warnings.map { .string($0) })),
    ])
  }
}
