import Petar
import PetarConversion
import Testing

/// PETAR-4B's layers as they are, two of each kind and few words: what the small models cannot show of tiles, panels and
/// the parts that threads take.
@Suite("Real layer sizes", .serialized) struct RealSizesTests {
  /// Numbers bit by bit.
  private struct Outcome: Equatable {
    var vision: [UInt32] = []
    var logits: [UInt32] = []
  }

  private func withModelFile(
    _ weights: Encoding, views: ModelDescription.Extent? = nil, _ body: (String) throws -> Void
  ) throws {
    var shape = try #require(SynthesisShape.all.first { $0.name == "petar-4b-2-layers" })
    if let views {
      var description = shape.description
      description.views.extent = views
      shape = SynthesisShape(name: shape.name, description: description)
    }
    try withTemporaryFolder { folder in
      let path = "\(folder)/real.petar"
      try synthesize(shape, output: path, weights: weights, seed: 1)
      try body(path)
    }
  }

  private func exam() throws -> Exam {
    try ImagingPhantom.exam(
      pet: { $0.z == 49 ? 8 : Float(($0.x &* 3 &+ $0.y &* 5 &+ $0.z &* 7) % 11) / 4 + 0.1 },
      lesion: ImagingPhantom.ball(SIMD3(20, 18, 25), 3))
  }

  /// Six arrays, towers, projector, prompt.
  private func describe(_ path: String, isa: String? = nil, threads: Int) throws -> Outcome {
    let model = try Model(path: path, isa: isa)
    let session = try Session(model: model, pool: ThreadPool(threads: threads))
    let vision = try session.encode(session.prepare(exam()))
    let logits = try Buffer<Float>(count: 3 * model.description.decoder.vocabulary)
    try session.logits(
      vision: UnsafeBufferPointer(vision.elements), ids: model.prompt(question: nil), last: 3, into: logits.base)
    return Outcome(vision: bits(vision.elements), logits: bits(logits.elements))
  }

  /// Random weights say nothing, but neither do they say the same everywhere.
  private func expectNumbers(_ outcome: Outcome) {
    for values in [outcome.vision, outcome.logits] {
      #expect(values.allSatisfy { Float(bitPattern: $0).isFinite } && Set(values).count > values.count / 2)
    }
  }

  /// Views of 32 x 256 x 256: 2049 tokens in a tower, a prompt of more than 256 positions. Not scalar, which would take
  /// minutes.
  @Test("Threads and instruction sets change no bit", arguments: [Encoding.q8, .q4])
  func threadsAndInstructionSets(_ weights: Encoding) throws {
    try withModelFile(weights) { path in
      let expected = try describe(path, threads: 1)
      expectNumbers(expected)
      for threads in [2, 3, 7] {
        let same = try describe(path, threads: threads) == expected
        #expect(same, "\(threads) threads")
      }
      for isa in instructionSets.dropFirst() where isa != "scalar" {
        let same = try describe(path, isa: isa, threads: 2) == expected
        #expect(same, "\(isa)")
      }
    }
  }

  /// The same layers on views of 8 x 64 x 64: 33 tokens in a tower, 4 in the decoder.
  @Test("Scalar code gives the same bits, with fewer tokens", arguments: [Encoding.q8, .q4])
  func scalar(_ weights: Encoding) throws {
    try withModelFile(weights, views: .init(8, 64, 64)) { path in
      let expected = try describe(path, threads: 2)
      expectNumbers(expected)
      for isa in instructionSets.dropFirst() {
        let same = try describe(path, isa: isa, threads: 2) == expected
        #expect(same, "\(isa)")
      }
    }
  }

  /// Sixteen texts, each of its own prompt and then of the word the model finds most likely. Not scalar, as above.
  @Test("A text's logits do not depend on how many texts are read with it", arguments: [Encoding.q8, .q4])
  func batch(_ weights: Encoding) throws {
    try withModelFile(weights, views: .init(8, 64, 64)) { path in
      var model = try Model(path: path)
      let alone = try texts(model, width: 1, threads: 1)
      #expect(alone.count == 16 && Set(alone).count == 16)
      func expectSame(width: Int) throws {
        let threads = [1, 2, 3, 7][width % 4]
        let together = try texts(model, width: width, threads: threads)
        let different = alone.indices.filter { together[$0] != alone[$0] }
        #expect(different.isEmpty, "\(width) side by side, \(threads) threads, \(model.instructionSet.name)")
      }
      for width in 2...16 { try expectSame(width: width) }
      for isa in instructionSets.dropFirst() where isa != "scalar" {
        model = try Model(path: path, isa: isa)
        for width in [1, 5, 16] { try expectSame(width: width) }
      }
    }
  }

  /// The bits of all logits on the way of each text: after the prompt and after one token more.
  private func texts(_ model: Model, width: Int, threads: Int) throws -> [[UInt32]] {
    let vocabulary = model.description.decoder.vocabulary
    let compute = Compute(model.instructionSet, pool: try ThreadPool(threads: threads))
    let decoder = try LanguageDecoder(model.description, DecoderWeights(model.file), compute, Scratch())
    let logits = try Buffer<Float>(count: width * vocabulary)
    var seen = [[UInt32]](repeating: [], count: 16)
    for first in stride(from: 0, to: 16, by: width) {
      let indices = first..<min(first + width, 16)
      let texts = try indices.map { index in
        let text = try decoder.sequence(positions: 40)
        text.pending = (0...index).map { Int32(($0 * 37 + index * 101) % vocabulary) }
        return text
      }
      for _ in 0...1 {
        try decoder.read(texts, logits: logits.base) { _ in }
        for (row, text) in texts.enumerated() {
          let values = logits.elements[(row * vocabulary)..<((row + 1) * vocabulary)]
          seen[first + row] += bits(values)
          let likeliest = values.indices.max { values[$0] < values[$1] } ?? 0
          text.pending = [Int32(likeliest - row * vocabulary)]
        }
      }
    }
    return seen
  }
}
