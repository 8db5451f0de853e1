import Foundation
import Petar
import PetarConversion
import PetarTraining

/// The small models of Tests/Fixtures/make_gradients.py, and what PyTorch made of them (training.json).
struct TrainingReference: Decodable {
  /// The norm of a gradient and 16 sums of its elements with pseudo-random signs.
  struct Digest: Decodable {
    let norm: Double
    let sums: [Double]
  }

  let loss: Double
  /// By the checkpoint's names.
  let gradients: [String: Digest]
  /// Of ten steps of AdamW.
  let losses: [Double]
  let adaptedLoss: Double
  let adapterGradients: [String: Digest]

  private enum CodingKeys: String, CodingKey {
    case loss, gradients, losses
    case adaptedLoss = "adapted_loss"
    case adapterGradients = "adapter_gradients"
  }

  enum Name: String, CaseIterable {
    case phi3Two = "phi3-two"
    case llamaShared = "llama-shared"
  }

  static func read(_ name: Name) throws -> TrainingReference {
    let file = URL(filePath: #filePath).deletingLastPathComponent().deletingLastPathComponent()
      .deletingLastPathComponent().appending(path: "Fixtures/training.json")
    let all = try JSONDecoder().decode([String: TrainingReference].self, from: try Data(contentsOf: file))
    guard let reference = all[name.rawValue] else { throw CocoaError(.coderValueNotFound) }
    return reference
  }

  // ---- The same models and examples -------------------------------------------------------------------------------

  private static let seed: UInt64 = 7
  static let imageToken: Int32 = 1002
  static let rank = 4
  static let alpha: Float = 8

  static func description(_ name: Name) -> ModelDescription {
    var model = ModelDescription()
    model.views.extent = .init(8, 32, 32)
    model.vision.patch = .init(4, 8, 8)
    model.vision.pool = .init(2, 2, 2)
    model.vision.width = 128
    model.vision.layers = 2
    model.vision.mlpWidth = 96
    model.vision.sharedTower = name == .llamaShared
    model.vision.qkvBias = name == .llamaShared
    model.projector.kind = name == .llamaShared ? .linear : .mlp
    model.projector.layers = 2
    model.decoder.vocabulary = 1008
    model.decoder.width = 48
    model.decoder.layers = 2
    model.decoder.heads = 4
    model.decoder.keyValueHeads = name == .llamaShared ? 2 : 4
    model.decoder.headWidth = 12
    model.decoder.ffnWidth = 40
    model.decoder.slidingWindow = name == .llamaShared ? 0 : 12
    model.decoder.context = 64
    model.decoder.tiedEmbeddings = name == .llamaShared
    model.prompt.imageToken = imageToken
    return model
  }

  /// - Parameter isTrained: by the names of a .petar file.
  static func parameters(
    _ name: Name, adapters: Bool = false, trained isTrained: (String) -> Bool = { _ in true }
  ) throws -> Parameters {
    let description = description(name)
    let parameters = try Parameters(
      description, plans: TensorPlanner.plans(for: description, fused: name == .phi3Two))
    if adapters { try parameters.addAdapters(rank: rank, alpha: alpha, seed: 1) }
    for tensor in parameters.tensors {
      var place = tensor.values.base
      for part in tensor.parts {
        let values = values(part.name, part.shape)
        place.update(from: values, count: values.count)
        place += values.count
      }
    }
    try parameters.train(where: isTrained)
    return parameters
  }

  static func examples(_ name: Name) throws -> [TrainingExample] {
    let model = description(name)
    return try [(5, 6), (9, 4), (3, 11)].enumerated().map { index, lengths in
      var random = SplitMix64(seed: nameSeed("text.\(index)"))
      let text = (0..<(lengths.0 + lengths.1)).map { _ in Int32(random.next() >> 40) % 900 + 3 }
      let ids = [1] + [Int32](repeating: imageToken, count: model.visionTokens) + text
      func view(_ suffix: String) throws -> Views.Arrays {
        Views.Arrays(
          pet: try buffer(uniform("pet\(suffix).\(index)", model.views.extent.count).map { ($0 + 1) / 2 }),
          mask: try buffer(uniform("mask\(suffix).\(index)", model.views.extent.count).map { $0 > 0.5 ? 1 : 0 }),
          ct: try buffer(uniform("ct\(suffix).\(index)", model.views.extent.count).map { ($0 + 1) / 2 }))
      }
      return TrainingExample(
        global: try view(""), focal: try view("_focal"), ids: ids, answer: (ids.count - lengths.1)..<ids.count)
    }
  }

  private static func values(_ name: String, _ shape: [Int]) -> [Float] {
    let values = uniform(name, shape.reduce(1, *))
    if shape.count == 2 { return values.map { $0 * Float((3 / Double(shape[1])).squareRoot()) } }
    if shape.count == 1, name.hasSuffix("weight") { return values.map { 1 + 0.3 * $0 } }
    return values.map { 0.2 * $0 }
  }

  /// FNV-1a over the name.
  private static func nameSeed(_ name: String) -> UInt64 {
    name.utf8.reduce(0xcbf2_9ce4_8422_2325 ^ seed) { ($0 ^ UInt64($1)) &* 0x100_0000_01b3 }
  }

  private static func uniform(_ name: String, _ count: Int) -> [Float] {
    var random = SplitMix64(seed: nameSeed(name))
    return (0..<count).map { _ in random.uniform() }
  }

  private static func buffer(_ values: [Float]) throws -> Buffer<Float> {
    let buffer = try Buffer<Float>(count: values.count)
    buffer.base.update(from: values, count: values.count)
    return buffer
  }

  // ---- Comparison -------------------------------------------------------------------------------------------------

  /// An estimate of |gradient - reference| / |reference|: the mean square of the differences of the signed sums is an
  /// unbiased estimate of the squared norm of the difference.
  static func difference(_ gradient: UnsafeBufferPointer<Float>, _ name: String, _ reference: Digest) -> Double {
    guard reference.sums.count == 16 else { return .infinity }
    var random = SplitMix64(seed: nameSeed(name))
    var sums = [Double](repeating: 0, count: 16)
    for value in gradient {
      let bits = random.next()
      for index in sums.indices { sums[index] += bits >> UInt64(index) & 1 == 0 ? Double(value) : -Double(value) }
    }
    let squares = zip(sums, reference.sums).map { ($0 - $1) * ($0 - $1) }
    return (squares.reduce(0, +) / 16).squareRoot() / reference.norm
  }

  /// The gradients of all trained tensors by the checkpoint's names.
  static func gradients(_ parameters: Parameters) -> [String: UnsafeBufferPointer<Float>] {
    var gradients: [String: UnsafeBufferPointer<Float>] = [:]
    for tensor in parameters.tensors {
      guard let gradient = tensor.gradient else { continue }
      var first = 0
      for part in tensor.parts {
        let count = part.shape.reduce(1, *)
        gradients[part.name] = UnsafeBufferPointer(start: gradient.base + first, count: count)
        first += count
      }
    }
    return gradients
  }
}
