import Petar
import PetarConsole
import PetarConversion
import PetarTraining

/// `petar-train bench [THREADS] [STEPS]`: times steps (forward, backward, AdamW) and prints their median in ms as the
/// last word.
enum BenchCommand {
  static let usage = """
    petar-train bench: time training steps of a small model (13 million parameters, batch of 8, f32).

      petar-train bench [THREADS] [STEPS]

      THREADS      all processors unless given
      STEPS        10 unless given; three more warm up

    """

  static func run(_ words: some Sequence<String>) throws {
    let words = Array(words)
    let numbers = words.compactMap { Int($0) }
    guard numbers.count == words.count, numbers.count <= 2, numbers.allSatisfy({ (1...10_000).contains($0) }) else {
      throw UsageError(message: "bench takes two whole numbers at most, threads and steps")
    }
    try run(threads: numbers.first ?? ThreadPool.processors, steps: numbers.dropFirst().first ?? 10)
  }

  private static func run(threads: Int, steps: Int) throws {
    let model = benchModel()
    let pool = try ThreadPool(threads: threads)
    let parameters = try Parameters(model, plans: TensorPlanner.plans(for: model, fused: true))
    parameters.initialize(seed: 1)
    try parameters.train { _ in true }
    let training = try TrainingModel(parameters, pool: pool)
    let optimizer = try AdamW(parameters, .init(), pool: pool)
    let batch = try benchBatch(model)
    let count = parameters.tensors.reduce(0) { $0 + $1.values.count }
    Console.out("\(count) parameters, batch of \(batch.count), \(threads) threads, \(productKernels)\n")
    var times: [Double] = []
    // The first three warm up: memory is taken then.
    for step in 0..<(3 + steps) {
      let clock = Stopwatch()
      let loss = try training.accumulateGradients(batch)
      _ = try optimizer.step(learningRate: 3e-4)
      if step >= 3 { times.append(clock.seconds) }
      Console.out("step \(step): loss \(loss), \(Int(clock.seconds * 1e3)) ms\n")
    }
    Console.out("\(training.workspaceBytes >> 20) MiB for activations; median of the steps in ms:\n")
    Console.out("\(times.sorted()[times.count / 2] * 1e3)\n")
  }
}

/// The model of Benchmarks/peers/training_torch.py: two towers, a small decoder.
private func benchModel() -> ModelDescription {
  var model = ModelDescription()
  model.views.extent = .init(16, 64, 64)
  model.vision.patch = .init(4, 8, 8)
  model.vision.pool = .init(2, 2, 2)
  model.vision.width = 192
  model.vision.layers = 6
  model.vision.headWidth = 32
  model.vision.mlpWidth = 768
  model.projector.layers = 2
  model.decoder.vocabulary = 2048
  model.decoder.width = 256
  model.decoder.layers = 6
  model.decoder.heads = 8
  model.decoder.keyValueHeads = 8
  model.decoder.headWidth = 32
  model.decoder.ffnWidth = 1024
  model.decoder.context = 96
  model.prompt.imageToken = 2047
  return model
}

/// Eight examples of noise and random text; all of the text but its first token counts.
private func benchBatch(_ model: ModelDescription) throws -> [TrainingExample] {
  var random = SplitMix64(seed: 2)
  func array() throws -> Buffer<Float> {
    let buffer = try Buffer<Float>(count: model.views.extent.count)
    for index in 0..<buffer.count { buffer.base[index] = (random.uniform() + 1) / 2 }
    return buffer
  }
  func view() throws -> Views.Arrays { .init(pet: try array(), mask: try array(), ct: try array()) }
  return try (0..<8).map { _ in
    let image = [Int32](repeating: model.prompt.imageToken, count: model.visionTokens)
    let ids = image + (0..<64).map { _ in Int32(random.next() % 2047) }
    return TrainingExample(
      global: try view(), focal: try view(), ids: ids, answer: (image.count + 1)..<ids.count)
  }
}
