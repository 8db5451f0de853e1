import Petar
import PetarConversion
import PetarTraining
import Testing

@Suite("Training: gradients") struct GradientTests {
  typealias Name = TrainingReference.Name

  /// f32 sums of a few thousand terms in another order: 1e-6 is usual, adapters have up to 1.4e-5, and OpenBLAS's
  /// kernels differ in their order. The promise is 1e-4.
  private let tolerance = 3e-5

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

  /// A mean does not see that every example comes 40 times, with views of its own: 600 rows in the decoder, more in the
  /// towers.
  @Test("A batch of many rows, which go through the layers in parts", arguments: Name.allCases)
  func manyRows(_ name: Name) throws {
    let reference = try TrainingReference.read(name)
    let parameters = try TrainingReference.parameters(name)
    let model = try TrainingModel(parameters, pool: ThreadPool(threads: 2))
    let loss = try model.accumulateGradients(try (0..<40).flatMap { _ in try TrainingReference.examples(name) })
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

  @Test(
    "Questions about the same views share what is seen, and get the gradients of views of their own",
    arguments: Name.allCases)
  func sharedViews(_ name: Name) throws {
    let examples = try TrainingReference.examples(name)
    let other = try #require(examples.last)
    // Questions about the first example's views, another's between them.
    func gradients(copying: Bool, again count: Int = 1) throws -> (loss: Double, of: [String: [Float]], bytes: Int) {
      let again = try (0..<count).map { _ in
        let views = copying ? try TrainingReference.examples(name)[0] : examples[0]
        return TrainingExample(global: views.global, focal: views.focal, ids: other.ids, answer: other.answer)
      }
      let parameters = try TrainingReference.parameters(name)
      let model = try TrainingModel(parameters, pool: ThreadPool(threads: 2))
      let loss = try model.accumulateGradients([examples[0], other] + again)
      return (loss, TrainingReference.gradients(parameters).mapValues(Array.init), model.workspaceBytes)
    }
    let (shared, apart) = (try gradients(copying: false), try gradients(copying: true))
    // OpenBLAS's kernels for AVX2 round the last rows of a product in another way than those before.
    #expect(abs(shared.loss - apart.loss) <= 1e-6 * apart.loss)
    for (name, expected) in apart.of {
      let got = try #require(shared.of[name])
      let norm = expected.reduce(0) { $0 + Double($1) * Double($1) }.squareRoot()
      let error = zip(got, expected).reduce(0) { $0 + Double($1.0 - $1.1) * Double($1.0 - $1.1) }.squareRoot()
      #expect(error <= 1e-5 * norm, "\(name)")
    }
    // The workspace grows by 16 MiB: many questions tell whether their views are seen once.
    let (few, many) = (try gradients(copying: false, again: 24), try gradients(copying: true, again: 24))
    #expect(few.bytes < many.bytes, "the views are seen once")
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

  /// With the same inputs dropped, the loss is a smooth function of the adapters: its slope is measured.
  @Test("Dropout: gradients are those of the loss with the same inputs dropped", arguments: Name.allCases)
  func dropout(_ name: Name) throws {
    let examples = try TrainingReference.examples(name)
    let parameters = try TrainingReference.parameters(name)
    let adapted = try Parameters(
      TrainingReference.description(name),
      plans: TensorPlanner.plans(
        for: TrainingReference.description(name), fused: name == .phi3Two))
    for tensor in parameters.tensors {
      let copy = try adapted.tensor(tensor.name)
      copy.values.base.update(from: tensor.values.base, count: tensor.values.count)
    }
    try adapted.addAdapters(rank: 4, alpha: 8, dropout: 0.3, seed: 1)
    var random = SplitMix64(seed: 9)
    for tensor in adapted.tensors where Parameters.isAdapter(tensor.name) {
      for index in 0..<tensor.values.count { tensor.values.base[index] = 0.2 * random.uniform() }
    }
    try adapted.train(where: Parameters.isAdapter)
    let model = try TrainingModel(adapted, pool: ThreadPool(threads: 2))
    func loss(_ seed: UInt64?) throws -> Double {
      defer { adapted.clearGradients() }
      return try model.accumulateGradients(examples, dropoutSeed: seed)
    }
    #expect(try loss(1) != loss(2) && loss(1) != loss(nil))
    #expect(try loss(1) == loss(1))

    _ = try model.accumulateGradients(examples, dropoutSeed: 1)
    let gradients = Dictionary(
      uniqueKeysWithValues: adapted.tensors.compactMap { tensor in
        tensor.gradient.map { (tensor.name, Array($0.elements)) }
      })
    adapted.clearGradients()
    // Along the gradient of all adapters the loss falls by its squared norm; f32 losses carry 1e-6, the step 1e-2.
    let square = gradients.values.joined().reduce(0.0) { $0 + Double($1) * Double($1) }
    let step = 1e-2 / square.squareRoot()
    func move(_ by: Double) throws {
      for (name, gradient) in gradients {
        let values = try adapted.tensor(name).values
        for index in 0..<values.count { values.base[index] += Float(by) * gradient[index] }
      }
    }
    try move(step)
    let above = try loss(1)
    try move(-2 * step)
    let below = try loss(1)
    #expect(abs((above - below) / (2 * step) / square - 1) < 0.01)
  }
}
