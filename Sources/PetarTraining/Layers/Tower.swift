import CPetar
import Petar

/// One image for a tower: its patches, and those of the lesion mask where it has one.
struct TowerImage {
  /// (tokens, patch voxels)
  let patches: UnsafePointer<Float>
  let mask: UnsafePointer<Float>?
}

/// A vision tower over any number of images at once: embeddings, blocks, final norm. The class token's row comes first
/// in each image, where there is one.
struct Tower {
  private let patch: PatchEmbedding
  private let mask: PatchEmbedding?
  private let classToken: Weight?
  private let stack: BlockStack<VisionBlock>
  private let norm: LayerNormLayer

  /// What a forward pass leaves behind. Memory lies in the arena.
  struct Trace {
    let layout: RowLayout
    /// Rows of `width`, normalized.
    let output: UnsafeMutablePointer<Float>
    fileprivate let images: [TowerImage]
    fileprivate let blocks: BlockStack<VisionBlock>.Trace
  }

  /// - Parameter tower: `.pet` has the mask's embedding and the class token.
  init(_ parameters: Parameters, _ tower: TensorName.Tower, checkpointing: Bool) throws {
    patch = PatchEmbedding(
      linear: try LinearLayer(
        parameters, weight: TensorName.patchWeight(tower), bias: TensorName.patchBias(tower)),
      position: try Weight(parameters, TensorName.position(tower)))
    mask =
      tower == .pet
      ? PatchEmbedding(
        linear: try LinearLayer(
          parameters, weight: TensorName.maskPatchWeight, bias: TensorName.maskPatchBias),
        position: try Weight(parameters, TensorName.maskPosition)) : nil
    classToken = tower == .pet ? try Weight(parameters, TensorName.classToken) : nil
    let vision = parameters.description.vision
    stack = BlockStack(
      blocks: try (0..<vision.layers).map { try VisionBlock(parameters, tower, $0) }, checkpointing: checkpointing)
    norm = LayerNormLayer(
      weight: try Weight(parameters, TensorName.visionNormWeight(tower)),
      bias: try Weight(parameters, TensorName.visionNormBias(tower)), epsilon: vision.normEpsilon)
  }

  var width: Int { patch.width }
  /// Rows before the first token.
  var skipped: Int { classToken == nil ? 0 : 1 }
  var isTrained: Bool { embeddingIsTrained || norm.isTrained || stack.firstTrained < stack.blocks.count }

  private var embeddingIsTrained: Bool {
    patch.isTrained || mask?.isTrained ?? false || classToken?.isTrained ?? false
  }

  func forward(_ images: [TowerImage], _ engine: Engine) throws -> Trace {
    let (tokens, width) = (patch.tokens, width)
    let layout = RowLayout(lengths: images.map { _ in tokens + skipped })
    let hidden = try engine.arena.floats(layout.rows * width)
    hidden.update(repeating: 0, count: layout.rows * width)
    for (image, rows) in zip(images, layout.sequences) {
      let first = hidden + rows.lowerBound * width
      if let classToken { first.update(from: classToken.values, count: width) }
      try patch.forward(image.patches, addingTo: first + skipped * width, engine)
      if let mask, let patches = image.mask {
        try mask.forward(patches, addingTo: first + skipped * width, engine)
      }
    }
    let output = try engine.arena.floats(layout.rows * width)
    let first = embeddingIsTrained ? 0 : stack.firstTrained
    let blocks = try stack.forward(hidden, layout, backwardTo: first, engine)
    norm.forward(blocks.output, engine.all(layout.rows), into: output)
    return Trace(layout: layout, output: output, images: images, blocks: blocks)
  }

  /// - Parameter gradient: of the output, class tokens' rows included.
  func backward(_ trace: Trace, gradient: UnsafePointer<Float>, _ engine: Engine) throws {
    let layout = trace.layout
    try engine.arena.scoped {
      let dhidden = try engine.arena.floats(layout.rows * width)
      dhidden.update(repeating: 0, count: layout.rows * width)
      let sums = try norm.sums(layout.rows, engine)
      norm.backward(trace.blocks.output, gradient, engine.all(layout.rows), addingTo: dhidden, sums)
      norm.addGradients(sums, engine)
      try stack.backward(trace.blocks, layout, gradient: dhidden, engine)
      guard embeddingIsTrained else { return }
      for (image, rows) in zip(trace.images, layout.sequences) {
        let first = dhidden + rows.lowerBound * width
        if let sums = classToken?.gradient { engine.operations.add_bias(sums, first, width, sums) }
        try patch.backward(image.patches, first + skipped * width, engine)
        if let patches = image.mask { try mask?.backward(patches, first + skipped * width, engine) }
      }
    }
  }
}
