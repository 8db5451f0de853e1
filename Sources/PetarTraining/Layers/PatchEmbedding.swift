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

  /// The embeddings of the patches of all images: rows of `width`, written or, if `adding`, added to those there.
  func forward(
    _ patches: UnsafePointer<Float>, images: Int, into rows: UnsafeMutablePointer<Float>, adding: Bool, _ engine: Engine
  ) throws {
    try engine.overParts(images * tokens, .forward, [linear]) { part, _ in
      part.forEachRow(width: width) { row in
        let embedded = rows + row * width
        engine.operations.add_bias(adding ? embedded : nil, position.values + row % tokens * width, width, embedded)
      }
      try linear.forward(patches, part, into: rows, residual: rows)
    }
  }

  func backward(
    _ patches: UnsafePointer<Float>, _ gradient: UnsafePointer<Float>, images: Int, _ engine: Engine
  ) throws {
    if let sums = position.gradient {
      engine.overRows(tokens, width: width) { first, count in
        engine.operations.column_sums(
          gradient + first * width, tokens * width, images, count * width, sums + first * width)
      }
    }
    try linear.addGradients(patches, gradient, rows: images * tokens, engine)
  }
}
