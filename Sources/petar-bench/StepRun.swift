import Petar

/// Times one reading of the decoder for several texts side by side, a token each, behind as many positions as a lesion
/// has, with room for an answer of the model's length. The texts are copies of one another: what they say does not matter
/// to the time.
final class StepRun {
  private(set) var stages: [Stage]
  private let decoder: LanguageDecoder
  private let texts: [DecoderSequence]
  private let positions: Int
  private let logits: Buffer<Float>
  private let stepBytes: Double
  private let machine: Machine
  private let pool: ThreadPool

  static let widths = [1, 2, 4, 8, 16]
  private static let steps = 10

  init(_ model: Model, _ machine: Machine, _ pool: ThreadPool, positions: Int) throws {
    self.machine = machine
    self.pool = pool
    self.positions = positions
    stages = Self.widths.map { Stage("step of \($0) \($0 == 1 ? "text" : "texts")", tokens: $0) }
    stepBytes = Work(model.file).stepBytes
    let shape = model.description.decoder
    let most = Self.widths.max() ?? 1
    logits = try Buffer(count: most * shape.vocabulary)
    decoder = try LanguageDecoder(
      model.description, DecoderWeights(model.file), Compute(model.instructionSet, pool: pool), Scratch())
    let decoder = decoder
    let room = min(positions + model.description.prompt.maxTokens, shape.context)
    texts = try (0..<most).map { _ in try decoder.sequence(positions: room) }
    texts[0].pending = (0..<positions).map { Int32($0 % shape.vocabulary) }
    try decoder.read(texts.prefix(1), logits: logits.base) { _ in }
    for text in texts.dropFirst() { text.copy(texts[0]) }
  }

  func run() throws {
    for (index, width) in Self.widths.enumerated() {
      let texts = texts.prefix(width)
      var seconds: [Double] = []
      let before = machine.measure(.read, on: pool) ?? .nan
      for step in 0...Self.steps {
        for text in texts { text.pending.append(Int32(step)) }
        let clock = Stopwatch()
        try decoder.read(texts, logits: logits.base) { _ in }
        // The first step meets caches full of the probe.
        if step > 0 { seconds.append(clock.seconds) }
        for text in texts { text.truncate(to: positions) }
      }
      let after = machine.measure(.read, on: pool) ?? .nan
      for time in seconds { stages[index].append(time, limit: stepBytes / ((before + after) / 2)) }
    }
  }
}
