import Foundation
import Petar
import PetarConversion
import PetarTraining

/// The model of Benchmarks/peers/training_torch.py: 13 million parameters, two towers, a small decoder.
func benchModel() -> ModelDescription {
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

func bench() throws {
  let model = benchModel()
  let threads = CommandLine.arguments.dropFirst().first.flatMap { Int($0) } ?? 2
  let pool = try ThreadPool(threads: threads)
  let parameters = try Parameters(model, plans: TensorPlanner.plans(for: model, fused: true))
  parameters.initialize(seed: 1)
  try parameters.train { _ in true }
  let checkpointing = CommandLine.arguments.contains("--checkpointing")
  let training = try TrainingModel(parameters, pool: pool, checkpointing: checkpointing)
  let optimizer = try AdamW(parameters, .init(), pool: pool)
  var random = RandomNumbers(seed: 2)
  func array() throws -> Buffer<Float> {
    let buffer = try Buffer<Float>(count: model.views.extent.count)
    for index in 0..<buffer.count { buffer.base[index] = (random.uniform() + 1) / 2 }
    return buffer
  }
  let batch = try (0..<8).map { _ in
    func view() throws -> Views.Arrays { .init(pet: try array(), mask: try array(), ct: try array()) }
    let text = (0..<64).map { _ in Int32(random.next() % 2047) }
    let ids = [Int32](repeating: 2047, count: model.visionTokens) + text
    return TrainingExample(global: try view(), focal: try view(), ids: ids, answer: 33..<96)
  }
  print("parameters \(parameters.tensors.reduce(0) { $0 + $1.values.count })")
  var times: [Double] = []
  for index in 0..<6 {
    let clock = Stopwatch()
    let cpu = clock_()
    let loss = try training.accumulateGradients(batch)
    let gradients = clock.seconds
    _ = try optimizer.step(learningRate: 3e-4)
    if index > 2 { times.append(clock.seconds) }
    print(
      "loss \(loss) gradients \(Int(gradients * 1e3)) ms, step \(Int(clock.seconds * 1e3)) ms cpu \(Int((clock_()-cpu)*1e3))"
    )
  }
  print("median \(Int(times.sorted()[times.count / 2] * 1e3)) ms, activations \(training.workspaceBytes >> 20) MiB")
}

func clock_() -> Double {
  var t = timespec(); clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t); return Double(t.tv_sec) + Double(t.tv_nsec) * 1e-9
}
