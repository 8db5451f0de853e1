import CPetar
import Foundation
import Petar
import PetarConversion
import PetarTraining
import Testing

@Suite("Training: checkpoints") struct TrainingCheckpointTests {
  private func withCheckpoint(
    _ decoder: TestCheckpoint.Decoder, dtype: String = "F32", _ body: (_ folder: String, TestCheckpoint) throws -> Void
  ) throws {
    try withTemporaryFolder { folder in
      var checkpoint = TestCheckpoint(decoder, sharedTower: decoder == .llama, qkvBias: decoder == .llama)
      checkpoint.dtype = dtype
      try checkpoint.write(to: "\(folder)/source")
      try body(folder, checkpoint)
    }
  }

  private func example(_ model: ModelDescription) throws -> TrainingExample {
    var random = SplitMix64(seed: 3)
    func array(mask: Bool = false) throws -> Buffer<Float> {
      let buffer = try Buffer<Float>(count: model.views.extent.count)
      for index in 0..<buffer.count {
        let value = (random.uniform() + 1) / 2
        buffer.base[index] = mask ? value.rounded() : value
      }
      return buffer
    }
    func arrays() throws -> Views.Arrays { .init(pet: try array(), mask: try array(mask: true), ct: try array()) }
    let image = [Int32](repeating: model.prompt.imageToken, count: model.visionTokens)
    let text = (0..<20).map { Int32($0 * 31 % 900 + 3) }
    let ids = [1] + image + text
    return TrainingExample(global: try arrays(), focal: try arrays(), ids: ids, answer: 12..<ids.count)
  }

  /// Multiples of 1/128 are exact in all three types.
  @Test(arguments: ["F32", "F16", "BF16"]) func valuesAreTheCheckpoints(_ dtype: String) throws {
    try withCheckpoint(.llama, dtype: dtype) { folder, checkpoint in
      let parameters = try Parameters(checkpoint: "\(folder)/source")
      let parts = parameters.tensors.flatMap { tensor in
        var values = Array(tensor.values.elements)[...]
        return tensor.parts.map { part in
          let count = part.shape.reduce(1, *)
          defer { values = values.dropFirst(count) }
          return (part.name, part.shape, Array(values.prefix(count)))
        }
      }
      #expect(parts.count == checkpoint.tensors.count - (checkpoint.config["tie_word_embeddings"] == "true" ? 1 : 0))
      for (name, shape, values) in parts {
        #expect(values == checkpoint.values(name), "\(name)")
        #expect(shape == checkpoint.tensors.first { $0.name == name }?.shape)
      }
    }
  }

  /// Forward pass of the trainer and of the runtime from the same weights: other kernels, other order of sums.
  @Test(arguments: [TestCheckpoint.Decoder.phi3, .llama]) func forwardIsTheRuntimes(
    _ decoder: TestCheckpoint.Decoder
  ) throws {
    try withCheckpoint(decoder) { folder, _ in
      let parameters = try Parameters(checkpoint: "\(folder)/source")
      let example = try example(parameters.description)
      let trained = try #require(
        try TrainingModel(parameters, pool: ThreadPool(threads: 2)).evaluate([example]).first)

      try convert(checkpoint: "\(folder)/source", output: "\(folder)/model.petar", weights: .f32)
      let model = try Model(path: "\(folder)/model.petar")
      let session = try Session(model: model, pool: ThreadPool(threads: 2))
      let views = Views(extent: model.description.views.extent, global: example.global, focal: example.focal)
      let vision = try session.encode(views)
      let logits = try Buffer<Float>(count: trained.logits.count)
      try session.logits(
        vision: UnsafeBufferPointer(vision.elements), ids: example.ids, last: example.ids.count, into: logits.base)
      #expect(relativeDifference(trained.vision, Array(vision.elements)) < 1e-5)
      #expect(relativeDifference(trained.logits, Array(logits.elements)) < 1e-5)
    }
  }

  private func relativeDifference(_ a: [Float], _ b: [Float]) -> Float {
    guard a.count == b.count else { return .infinity }
    let largest = b.reduce(0) { larger($0, abs($1)) }
    return zip(a, b).reduce(0) { larger($0, abs($1.0 - $1.1)) } / largest
  }

  /// A trained model with adapters: what petar-convert makes of the written folder computes the same.
  @Test(arguments: [TestCheckpoint.Decoder.phi3, .llama]) func writtenFolderIsACheckpoint(
    _ decoder: TestCheckpoint.Decoder
  ) throws {
    try withCheckpoint(decoder) { folder, _ in
      let pool = try ThreadPool(threads: 2)
      let parameters = try Parameters(checkpoint: "\(folder)/source")
      try parameters.addAdapters(rank: 2, alpha: 4, seed: 5)
      try parameters.train { Parameters.isAdapter($0) || $0.hasPrefix("projector.") }
      let model = try TrainingModel(parameters, pool: pool)
      let optimizer = try AdamW(parameters, .init(), pool: pool)
      let example = try example(parameters.description)
      _ = try model.accumulateGradients([example])
      _ = try optimizer.step(learningRate: 0.01)
      try parameters.write(checkpoint: "\(folder)/trained", settingsFrom: "\(folder)/source")

      let loaded = try Parameters(checkpoint: "\(folder)/trained")
      #expect(
        loaded.tensors.flatMap(\.parts).map(\.name)
          == parameters.tensors.flatMap(\.parts).map(\.name).filter { !Parameters.isAdapter($0) })
      let again = try TrainingModel(loaded, pool: pool)
      #expect(abs(try again.meanLoss([example]) - model.meanLoss([example])) < 1e-4)
      try convert(checkpoint: "\(folder)/trained", output: "\(folder)/trained.petar", weights: .q8)

      let error = #expect(throws: PetarError.self) {
        try parameters.write(checkpoint: "\(folder)/trained", settingsFrom: "\(folder)/source")
      }
      #expect(error?.status == PETAR_ERROR_IO)
      #expect(try FileManager.default.contentsOfDirectory(atPath: folder).allSatisfy { !$0.hasSuffix(".partial") })
    }
  }

  @Test func aRunGoesOnBitForBit() throws {
    try withTemporaryFolder { folder in
      let pool = try ThreadPool(threads: 2)
      let examples = try TrainingReference.examples(.phi3Two)
      func run(steps: Int, readFrom state: String? = nil, writeTo path: String? = nil) throws -> [[UInt32]] {
        let parameters = try TrainingReference.parameters(.phi3Two) { !$0.hasPrefix("vision.ct.") }
        let model = try TrainingModel(parameters, pool: pool)
        let optimizer = try AdamW(parameters, .init(), pool: pool)
        if let state { try optimizer.read(state: state) }
        for _ in 0..<steps {
          _ = try model.accumulateGradients(examples)
          _ = try optimizer.step(learningRate: 1e-3)
        }
        if let path { try optimizer.write(state: path) }
        return parameters.tensors.map { $0.values.elements.map(\.bitPattern) }
      }
      _ = try run(steps: 2, writeTo: "\(folder)/state.safetensors")
      #expect(try run(steps: 2, readFrom: "\(folder)/state.safetensors") == run(steps: 4))

      let other = try TrainingReference.parameters(.phi3Two)
      let error = #expect(throws: PetarError.self) {
        try AdamW(other, .init(), pool: pool).read(state: "\(folder)/state.safetensors")
      }
      #expect(error?.status == PETAR_ERROR_BAD_FILE)
    }
  }

  /// Without clipping, a gradient may be finite and its square is not.
  @Test("A state that is not finite does not replace the one before") func overflow() throws {
    try withTemporaryFolder { folder in
      let parameters = try TrainingReference.parameters(.phi3Two) { $0.hasPrefix("projector.") }
      let optimizer = try AdamW(parameters, .init(), pool: ThreadPool(threads: 1))
      let state = "\(folder)/state.safetensors"
      try optimizer.write(state: state)
      let before = FileManager.default.contents(atPath: state)
      try parameters.tensor("projector.0.weight").gradient?.base[5] = 1e25
      _ = try optimizer.step(learningRate: 1e-3)
      let error = #expect(throws: PetarError.self) { try optimizer.write(state: state) }
      #expect(error?.status == PETAR_ERROR_INTERNAL)
      #expect(error?.message.contains("projector.0.weight.exp_avg_sq is not finite") == true)
      #expect(FileManager.default.contents(atPath: state) == before)
      #expect(try FileManager.default.contentsOfDirectory(atPath: folder) == ["state.safetensors"])
    }
  }

  @Test func whatDoesNotFitIsRefused() throws {
    let model = try TrainingModel(TrainingReference.parameters(.phi3Two), pool: ThreadPool(threads: 1))
    let good = try #require(try TrainingReference.examples(.phi3Two).first)
    func status(_ ids: [Int32], _ answer: Range<Int>) -> petar_status? {
      let example = TrainingExample(global: good.global, focal: good.focal, ids: ids, answer: answer)
      return #expect(throws: PetarError.self) { try model.accumulateGradients([example]) }?.status
    }
    #expect(status(good.ids + [1008], good.answer) == PETAR_ERROR_BAD_TEXT)
    #expect(status(Array(good.ids.dropFirst(2)), 5..<6) == PETAR_ERROR_INVALID_ARGUMENT)
    #expect(status(good.ids, 0..<3) == PETAR_ERROR_INVALID_ARGUMENT)
    #expect(status(good.ids, 4..<4) == PETAR_ERROR_INVALID_ARGUMENT)
    #expect(status(good.ids, 4..<(good.ids.count + 1)) == PETAR_ERROR_INVALID_ARGUMENT)
    #expect(status(good.ids + [Int32](repeating: 5, count: 64), good.answer) == PETAR_ERROR_CONTEXT_FULL)
  }
}
