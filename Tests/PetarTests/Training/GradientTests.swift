import Petar
import PetarTraining
import Testing

@Suite("Training: gradients") struct GradientTests {
  typealias Name = TrainingReference.Name

  /// f32 sums of a few thousand terms in another order: 1e-6 is usual, 1e-4 the promise.
  private let tolerance = 1e-4

  private func expectGradients(
    _ parameters: Parameters, _ expected: [String: TrainingReference.Digest]
  ) {
    let gradients = TrainingReference.gradients(parameters)
    #expect(Set(gradients.keys) == Set(expected.keys))
    for (name, digest) in expected {
      guard let gradient = gradients[name] else { continue }
      let difference = TrainingReference.difference(gradient, name, digest)
      #expect(difference < tolerance, "\(name): \(difference)")
    }
  }

  @Test("Every tensor's gradient is PyTorch's", arguments: Name.allCases, [false, true])
  func everyGradient(_ name: Name, checkpointing: Bool) throws {
    let reference = try TrainingReference.read(name)
    let parameters = try TrainingReference.parameters(name)
    let model = try TrainingModel(parameters, pool: ThreadPool(threads: 2), checkpointing: checkpointing)
    let loss = try model.accumulateGradients(try TrainingReference.examples(name))
    #expect(abs(loss - reference.loss) < 1e-5)
    expectGradients(parameters, reference.gradients)
  }

  @Test("Low-rank adapters", arguments: Name.allCases)
  func adapters(_ name: Name) throws {
    let reference = try TrainingReference.read(name)
    let parameters = try TrainingReference.parameters(name, adapters: true, trained: Parameters.isAdapter)
    let model = try TrainingModel(parameters, pool: ThreadPool(threads: 2))
    let loss = try model.accumulateGradients(try TrainingReference.examples(name))
    #expect(abs(loss - reference.adaptedLoss) < 1e-5)
    expectGradients(parameters, reference.adapterGradients)
  }

  @Test("Neither checkpointing nor the number of threads changes a bit", arguments: Name.allCases)
  func sameBits(_ name: Name) throws {
    func gradients(checkpointing: Bool, threads: Int) throws -> [String: [UInt32]] {
      let parameters = try TrainingReference.parameters(name)
      let model = try TrainingModel(parameters, pool: ThreadPool(threads: threads), checkpointing: checkpointing)
      _ = try model.accumulateGradients(try TrainingReference.examples(name))
      return TrainingReference.gradients(parameters).mapValues { $0.map(\.bitPattern) }
    }
    let plain = try gradients(checkpointing: false, threads: 1)
    #expect(try gradients(checkpointing: true, threads: 1) == plain)
    #expect(try gradients(checkpointing: false, threads: 3) == plain)
    #expect(try gradients(checkpointing: true, threads: 2) == plain)
  }

  /// Gradients of two batches add up to that of both together.
  @Test(arguments: Name.allCases) func accumulation(_ name: Name) throws {
    let reference = try TrainingReference.read(name)
    let examples = try TrainingReference.examples(name)
    let parameters = try TrainingReference.parameters(name)
    let model = try TrainingModel(parameters, pool: ThreadPool(threads: 2))
    let count = examples.reduce(0) { $0 + $1.answer.count }
    let first = try model.accumulateGradients(Array(examples.prefix(1)), answerTokens: count)
    let second = try model.accumulateGradients(Array(examples.dropFirst()), answerTokens: count)
    #expect(abs(first + second - reference.loss) < 1e-5)
    expectGradients(parameters, reference.gradients)
  }

  /// The stages of the paper: what is trained gets PyTorch's gradient, whatever is frozen around it.
  @Test(arguments: [
    "projector.", "vision.mask.", "vision.pet.1.", "decoder.1.", "decoder.embedding.", "vision.pet.norm.",
    "vision.pet.class_token", "decoder.norm.", "decoder.0.ffn_norm.",
  ])
  func partOfTheModel(_ prefix: String) throws {
    let reference = try TrainingReference.read(.phi3Two)
    let parameters = try TrainingReference.parameters(.phi3Two) { $0.hasPrefix(prefix) }
    let model = try TrainingModel(parameters, pool: ThreadPool(threads: 2))
    _ = try model.accumulateGradients(try TrainingReference.examples(.phi3Two))
    let gradients = TrainingReference.gradients(parameters)
    #expect(!gradients.isEmpty)
    expectGradients(parameters, reference.gradients.filter { gradients.keys.contains($0.key) })
  }
}
