import CPetar
import Petar
import PetarTraining
import Testing

@Suite("Training: optimizer") struct OptimizerTests {
  /// As in make_gradients.py.
  private func settings() -> AdamW.Settings {
    var settings = AdamW.Settings()
    settings.weightDecay = 0.1
    settings.largestNorm = 1
    return settings
  }

  @Test("Ten steps of AdamW have PyTorch's losses", arguments: TrainingReference.Name.allCases)
  func tenSteps(_ name: TrainingReference.Name) throws {
    let reference = try TrainingReference.read(name)
    let pool = try ThreadPool(threads: 2)
    let parameters = try TrainingReference.parameters(name)
    let model = try TrainingModel(parameters, pool: pool)
    let optimizer = try AdamW(parameters, settings(), pool: pool)
    let examples = try TrainingReference.examples(name)
    #expect(reference.losses.count == 10)
    for expected in reference.losses {
      let loss = try model.accumulateGradients(examples)
      #expect(abs(loss - expected) < 1e-4 * expected)
      _ = try optimizer.step(learningRate: 2e-3)
    }
  }

  @Test func frozenTensorsKeepTheirBits() throws {
    func values(_ parameters: Parameters) -> [String: [UInt32]] {
      Dictionary(uniqueKeysWithValues: parameters.tensors.map { ($0.name, $0.values.elements.map(\.bitPattern)) })
    }
    let pool = try ThreadPool(threads: 2)
    let parameters = try TrainingReference.parameters(.llamaShared) { $0.hasPrefix("vision.mask.") }
    let before = values(parameters)
    let model = try TrainingModel(parameters, pool: pool)
    let optimizer = try AdamW(parameters, settings(), pool: pool)
    _ = try model.accumulateGradients(try TrainingReference.examples(.llamaShared))
    _ = try optimizer.step(learningRate: 1e-3)
    for (name, bits) in values(parameters) {
      #expect((bits == before[name]) == !name.hasPrefix("vision.mask."), "\(name)")
    }
  }

  @Test func memoryDoesNotGrowWithSteps() throws {
    let pool = try ThreadPool(threads: 2)
    let parameters = try TrainingReference.parameters(.phi3Two)
    let model = try TrainingModel(parameters, pool: pool)
    let optimizer = try AdamW(parameters, settings(), pool: pool)
    let examples = try TrainingReference.examples(.phi3Two)
    func step(_ batch: [TrainingExample]) throws {
      _ = try model.accumulateGradients(batch)
      _ = try optimizer.step(learningRate: 1e-4)
    }
    for _ in 0..<2 { try step(examples) }
    let bytes = model.workspaceBytes
    for index in 0..<6 { try step(index % 2 == 0 ? examples : [examples[1]]) }
    #expect(model.workspaceBytes == bytes)
  }

  @Test func aGradientThatIsNotFiniteChangesNothing() throws {
    let pool = try ThreadPool(threads: 1)
    let parameters = try TrainingReference.parameters(.phi3Two) { $0.hasPrefix("projector.") }
    let optimizer = try AdamW(parameters, settings(), pool: pool)
    let weight = try parameters.tensor("projector.0.weight")
    let before = weight.values.elements.map(\.bitPattern)
    weight.gradient?.base[5] = .nan
    let error = #expect(throws: PetarError.self) { try optimizer.step(learningRate: 1e-3) }
    #expect(error?.status == PETAR_ERROR_INTERNAL)
    #expect(optimizer.steps == 0)
    #expect(weight.values.elements.map(\.bitPattern) == before)
  }

  /// transformers.get_cosine_schedule_with_warmup(num_warmup_steps=3, num_training_steps=11), lr 2.
  @Test func schedule() {
    let rate = LearningRate(peak: 2, warmUpSteps: 3, steps: 11)
    let expected = [
      0, 2.0 / 3, 4.0 / 3, 2, 1.923_879_5, 1.707_106_8, 1.382_683_4, 1, 0.617_316_6, 0.292_893_2, 0.076_120_5,
    ]
    for (step, expected) in expected.enumerated() { #expect(abs(rate(step) - expected) < 1e-6) }
    #expect(rate(11) == 0)
  }
}
