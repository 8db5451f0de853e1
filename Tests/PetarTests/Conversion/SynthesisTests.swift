import CPetar
import Foundation
import Petar
import PetarConversion
import Testing

@Suite("Synthetic models") struct SynthesisTests {
  /// A shape of a few thousand weights with everything PETAR-4B has.
  private var small: SynthesisShape {
    var model = ModelDescription()
    model.views.extent = .init(4, 8, 8)
    model.vision.patch = .init(2, 4, 4)
    model.vision.pool = .init(1, 2, 2)
    model.vision.width = 64
    model.vision.layers = 2
    model.vision.mlpWidth = 96
    model.projector.layers = 2
    model.decoder.vocabulary = 2048
    model.decoder.width = 48
    model.decoder.layers = 2
    model.decoder.heads = 4
    model.decoder.keyValueHeads = 2
    model.decoder.headWidth = 12
    model.decoder.ffnWidth = 80
    model.decoder.context = 128
    model.prompt.question = "what is it"
    model.prompt.maxTokens = 16
    return SynthesisShape(name: "small", description: model)
  }

  private func bytes(_ weights: Encoding, seed: UInt64, threads: Int) throws -> Data {
    try withTemporaryFolder { folder in
      try synthesize(small, output: "\(folder)/small.petar", weights: weights, seed: seed, threads: threads)
      return try Data(contentsOf: URL(fileURLWithPath: "\(folder)/small.petar"))
    }
  }

  @Test(arguments: Encoding.allCases) func theFileLoadsAndItsChecksumsHold(weights: Encoding) throws {
    try withTemporaryFolder { folder in
      try synthesize(small, output: "\(folder)/small.petar", weights: weights, seed: 1)
      let model = try Model(path: "\(folder)/small.petar", verify: true)
      #expect(model.file.weightsType == "\(weights)")
      #expect(model.description.provenance.randomWeights)
      #expect(model.description.provenance.source == "synthetic, seed 1")

      let session = try Session(model: model, pool: ThreadPool(threads: 1))
      var logits = [Float](repeating: 0, count: model.description.decoder.vocabulary)
      try logits.withUnsafeMutableBufferPointer { logits in
        guard let base = logits.baseAddress else { return }
        try session.logits(vision: nil, ids: [1, 300, 301], last: 1, into: base)
      }
      #expect(logits.allSatisfy(\.isFinite) && Set(logits).count > 1000)
    }
  }

  @Test func theSeedDecidesAndThreadsDoNot() throws {
    let first = try bytes(.q8, seed: 1, threads: 1)
    #expect(try bytes(.q8, seed: 1, threads: 3) == first)
    #expect(try bytes(.q8, seed: 2, threads: 1) != first)
  }

  @Test func weightsAreRoughlyNormalAndNormsAreOne() throws {
    try withTemporaryFolder { folder in
      try synthesize(small, output: "\(folder)/small.petar", weights: .f32, seed: 1)
      let file = try PetarFile.open(path: "\(folder)/small.petar", verify: false)
      let norm = try file.vector(TensorName.ffnNorm(1), count: 48).elements
      #expect(norm.allSatisfy { $0 == 1 })
      let normBias = try file.vector(TensorName.norm1Bias(.ct, 1), count: 64).elements
      #expect(normBias.allSatisfy { $0 == 0 })

      let matrix = try file.matrix(TensorName.embedding, rows: 2048, columns: 48)
      var (sum, squares, fourth) = (0.0, 0.0, 0.0)
      var row = [Float](repeating: 0, count: 48)
      for index in 0..<2048 {
        try row.withUnsafeMutableBufferPointer { row in
          if let base = row.baseAddress { try matrix.unpackRow(index, into: base) }
        }
        for value in row.map({ Double($0) / 0.02 }) {
          sum += value
          squares += value * value
          fourth += value * value * value * value
        }
      }
      // 98304 values: the standard errors of mean and variance are 0.0032 and 0.0045. The fourth moment of four
      // uniform numbers is 3 - 6/5/4 = 2.7, its standard error below 0.03.
      let count = 2048.0 * 48
      #expect(abs(sum / count) < 0.016)
      #expect(abs(squares / count - 1) < 0.023)
      #expect(abs(fourth / count - 2.7) < 0.15)
    }
  }

  @Test func textIsMadeOfWordsAndComesBack() throws {
    try withTemporaryFolder { folder in
      try synthesize(small, output: "\(folder)/small.petar", weights: .q8, seed: 1)
      let model = try Model(path: "\(folder)/small.petar")
      // Three ids for three short words, bytes for what is no small letter.
      #expect(model.tokenizer.encode("ab c de", addBOS: false).count == 3)
      let text = "Ab c\u{e9}, 12 xyz"
      #expect(try model.tokenizer.decode(model.tokenizer.encode(text, addBOS: false), keepSpecial: false) == text)
      // Begin-of-text, one id for each of 2 vision tokens, and the question's 3 words, one of them in two parts.
      let prompt = try model.prompt(question: "in an exam")
      #expect(prompt.count(where: { $0 == model.description.prompt.imageToken }) == 2)
      #expect(prompt.count <= 1 + 2 + 4)
    }
  }

  @Test func petar4BHasItsPublishedSize() throws {
    let shape = try #require(SynthesisShape.all.first { $0.name == "petar-4b" })
    let model = shape.description
    let decoder = model.decoder
    // Phi-3-mini: 3.82 billion parameters, 3,821,079,552 in its model card's 32064 rows.
    let heads = (2 * decoder.heads + 2 * decoder.keyValueHeads) * decoder.headWidth
    let layer = decoder.width * (heads + 3 * decoder.ffnWidth + 2)
    #expect(decoder.layers * layer + (2 * decoder.vocabulary + 1) * decoder.width == 3_821_079_552)
    #expect(model.visionTokens == 256 && model.tokenGrid.count == 2048)
  }
}
