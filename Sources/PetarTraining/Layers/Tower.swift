import CPetar
import Petar

/// Images for a tower: their patches, and those of the lesion masks that the first ones have.
struct TowerImages {
  let count: Int
  /// (count * tokens, patch voxels)
  let patches: UnsafePointer<Float>
  var masks: (count: Int, patches: UnsafePointer<Float>)?
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
    fileprivate let images: TowerImages
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

  func forward(_ images: TowerImages, _ engine: Engine) throws -> Trace {
    let layout = RowLayout(lengths: repeatElement(patch.tokens + skipped, count: images.count))
    let hidden = try engine.arena.floats(layout.rows * width)
    try engine.arena.scoped {
      let embedded = classToken == nil ? hidden : try engine.arena.floats(images.count * patch.tokens * width)
      try patch.forward(images.patches, images: images.count, into: embedded, adding: false, engine)
      if let mask, let masks = images.masks {
        try mask.forward(masks.patches, images: masks.count, into: embedded, adding: true, engine)
      }
      guard let classToken else { return }
      overImages(layout, engine) { tokens, classRow in
        (hidden + classRow * width).update(from: classToken.values, count: width)
        (hidden + (classRow + 1) * width).update(
          from: embedded + tokens.lowerBound * width, count: tokens.count * width)
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
      let sums = try norm.sums(layout.rows, engine)
      norm.backward(trace.blocks.output, gradient, engine.all(layout.rows), into: dhidden, sums)
      norm.addGradients(sums, engine)
      try stack.backward(trace.blocks, layout, gradient: dhidden, engine)
      guard embeddingIsTrained else { return }
      var dembedded = dhidden
      if let classToken {
        let rows = try engine.arena.floats(trace.images.count * patch.tokens * width)
        overImages(layout, engine) { tokens, classRow in
          (rows + tokens.lowerBound * width).update(from: dhidden + (classRow + 1) * width, count: tokens.count * width)
        }
        dembedded = rows
        if let sums = classToken.gradient {
          engine.operations.column_sums(dhidden, (patch.tokens + 1) * width, trace.images.count, width, sums)
        }
      }
      try patch.backward(trace.images.patches, dembedded, images: trace.images.count, engine)
      if let masks = trace.images.masks {
        try mask?.backward(masks.patches, dembedded, images: masks.count, engine)
      }
    }
  }

  /// Calls `body` for each image with its rows among those of all tokens, and with the row of its class token in `layout`.
  private func overImages(
    _ layout: RowLayout, _ engine: Engine, _ body: (_ tokens: Range<Int>, _ classRow: Int) -> Void
  ) {
    engine.pool.run(layout.sequences.count) { image in
      body((image * patch.tokens)..<((image + 1) * patch.tokens), layout.sequences[image].lowerBound)
    }
  }
}
