import Petar

/// From the arrays to the decoder's vision tokens: towers, fusion, pooling, projector.
struct VisionPath {
  private let model: ModelDescription
  private let pet: Tower
  /// nil where PET's tower sees CT too.
  private let ct: Tower?
  private let fusion: Fusion
  private let projector: Projector

  /// What a forward pass leaves behind. Memory lies in the arena.
  struct Trace {
    let examples: Int
    /// `examples * visionTokens` rows of the decoder's width.
    var output: UnsafeMutablePointer<Float> { projector.output }
    fileprivate let pet: Tower.Trace
    fileprivate let ct: Tower.Trace?
    fileprivate let projector: Projector.Trace
  }

  init(_ parameters: Parameters, checkpointing: Bool) throws {
    model = parameters.description
    pet = try Tower(parameters, .pet, checkpointing: checkpointing)
    ct = model.vision.sharedTower ? nil : try Tower(parameters, .ct, checkpointing: checkpointing)
    fusion = Fusion(model: model)
    projector = try Projector(parameters)
  }

  var isTrained: Bool { projector.isTrained || towersAreTrained }
  private var towersAreTrained: Bool { pet.isTrained || ct?.isTrained ?? false }

  func forward(_ examples: [TrainingExample], _ engine: Engine) throws -> Trace {
    let views = examples.flatMap { [$0.global, $0.focal] }
    let shared = ct == nil ? views.map(\.ct) : []
    let petTrace = try pet.forward(
      TowerImages(
        count: views.count + shared.count, patches: try patches(views.map(\.pet) + shared, engine),
        masks: (views.count, try patches(views.map(\.mask), engine))), engine)
    let ctTrace = try ct?.forward(
      TowerImages(count: views.count, patches: try patches(views.map(\.ct), engine)), engine)

    let rows = examples.count * model.visionTokens
    let pooled = try engine.arena.floats(rows * fusion.width)
    let features = features(petTrace.output, ctTrace?.output, images: views.count)
    fusion.forward(pet: features.pet, ct: features.ct, examples: examples.count, into: pooled, engine)
    return Trace(
      examples: examples.count, pet: petTrace, ct: ctTrace,
      projector: try projector.forward(pooled, rows: rows, engine))
  }

  /// - Parameter gradient: of the output.
  func backward(_ trace: Trace, gradient: UnsafePointer<Float>, _ engine: Engine) throws {
    try engine.arena.scoped {
      guard towersAreTrained else {
        return try projector.backward(trace.projector, gradient: gradient, into: nil, engine)
      }
      let dpooled = try engine.arena.floats(trace.examples * model.visionTokens * fusion.width)
      try projector.backward(trace.projector, gradient: gradient, into: dpooled, engine)
      let dpet = try engine.arena.floats(trace.pet.layout.rows * pet.width)
      let dct = try trace.ct.map { try engine.arena.floats($0.layout.rows * pet.width) }
      let features = features(dpet, dct, images: 2 * trace.examples)
      fusion.backward(dpooled, examples: trace.examples, pet: features.pet, ct: features.ct, engine)
      if pet.isTrained { try pet.backward(trace.pet, gradient: dpet, engine) }
      if let ct, ct.isTrained, let ctTrace = trace.ct, let dct {
        try ct.backward(ctTrace, gradient: dct, engine)
      }
    }
  }

  /// Where the two modalities lie in what the towers give: one after the other where they share one.
  private func features(
    _ petRows: UnsafeMutablePointer<Float>, _ ctRows: UnsafeMutablePointer<Float>?, images: Int
  ) -> (pet: Fusion.Features, ct: Fusion.Features) {
    let tokens = model.tokenGrid.count
    let petFeatures = Fusion.Features(base: petRows, rows: tokens + pet.skipped, skipped: pet.skipped)
    guard let ct, let ctRows else {
      let base = petRows + images * petFeatures.rows * pet.width
      return (petFeatures, Fusion.Features(base: base, rows: petFeatures.rows, skipped: pet.skipped))
    }
    return (petFeatures, Fusion.Features(base: ctRows, rows: tokens + ct.skipped, skipped: ct.skipped))
  }

  /// (images * tokens, patch voxels)
  private func patches(_ images: [Buffer<Float>], _ engine: Engine) throws -> UnsafePointer<Float> {
    let count = model.tokenGrid.count * model.vision.patch.count
    let rows = try engine.arena.floats(images.count * count)
    engine.pool.run(images.count) { image in
      PatchEmbedding.patches(of: images[image].base, model, into: rows + image * count)
    }
    return UnsafePointer(rows)
  }
}
