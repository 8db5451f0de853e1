import Petar

/// "Perceptron" patch embedding: the voxels of each patch through one linear layer, plus a vector for each position.
struct PatchEmbedding {
  let linear: LinearLayer
  /// (tokens, width), as one row.
  let position: Weight

  var isTrained: Bool { linear.isTrained || position.isTrained }
  var width: Int { linear.outputs }
  var tokens: Int { position.columns / width }

  /// The voxels of an image's patches, row by row: tokens in order (z, y, x), voxels of one likewise.
  static func patches(
    of image: UnsafePointer<Float>, _ model: ModelDescription, into rows: UnsafeMutablePointer<Float>
  ) {
    let (grid, patch, view) = (model.tokenGrid, model.vision.patch, model.views.extent)
    var row = rows
    for token in 0..<grid.count {
      let (z, y, x) = (token / (grid.height * grid.width), token / grid.width % grid.height, token % grid.width)
      for line in 0..<(patch.depth * patch.height) {
        let (dz, dy) = (line / patch.height, line % patch.height)
        let start = ((z * patch.depth + dz) * view.height + y * patch.height + dy) * view.width + x * patch.width
        row.update(from: image + start, count: patch.width)
        row += patch.width
      }
    }
  }

  /// Adds the embedding of one image's patches to `hidden`, `tokens` rows of `width`.
  func forward(_ patches: UnsafePointer<Float>, addingTo hidden: UnsafeMutablePointer<Float>, _ engine: Engine) throws {
    engine.operations.add_bias(hidden, position.values, tokens * width, hidden)
    try linear.forward(patches, engine.all(tokens), into: hidden, residual: hidden)
  }

  func backward(_ patches: UnsafePointer<Float>, _ gradient: UnsafePointer<Float>, _ engine: Engine) throws {
    if let sums = position.gradient { engine.operations.add_bias(sums, gradient, tokens * width, sums) }
    try linear.addGradients(patches, gradient, rows: tokens, engine)
  }
}
