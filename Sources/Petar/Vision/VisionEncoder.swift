/// From the six arrays to the decoder's image tokens (paper, section "Method"; upstream notes, section 2):
///
///     X = T(embed(PET) + embed_mask(mask)) | T'(embed(CT))      for the global and for the focal view
///     tokens = projector(pool(X_global + X_focal))
package struct VisionEncoder {
  let model: ModelDescription
  let weights: VisionWeights
  let compute: Compute
  let scratch: Scratch
  /// Given with every lesion of an exam; nil keeps nothing.
  let shared: SharedPass?
  /// Called between layers; throws to stop (cancellation).
  let checkpoint: () throws -> Void

  /// - Parameter views: PET, mask and CT of the global and of the focal view, each of the view's extent.
  /// - Returns: `visionTokens` x decoder width.
  package func encode(_ views: Views, progress: (Double) -> Void) throws -> Buffer<Float> {
    let (tokens, width) = (model.tokenGrid.count, model.vision.width)
    let features = try Buffer<Float>(count: tokens * 2 * width)
    let passes = 4.0 * Double(model.vision.layers)
    var done = 0.0
    let step = {
      done += 1
      progress(done / passes)
      try checkpoint()
    }
    let quantized = weights.pet.blocks.first?.qkv.weight.layout.encoding.isInt8 == true
    let int8 = quantized && AttentionPrecision.int8Takes(headWidth: model.vision.headWidth)
    let int8Perceptrons = (weights.pet.blocks + weights.ct.blocks).allSatisfy {
      $0.mlpIn.weight.layout.encoding.isInt8 && $0.mlpOut.weight.layout.encoding.isInt8
    }
    let workspace = try Workspace(model, attention: int8 ? .int8 : .f32, int8Perceptrons: int8Perceptrons)
    for (view, shared) in [(views.global, shared), (views.focal, nil)] {
      let pet = try run(weights.pet, view.pet.base, mask: view.mask.base, into: workspace, step)
      add(pet, to: features, column: 0)
      if let known = shared?.tokens(of: view.ct) {
        add(known, to: features, column: width)
        done += Double(model.vision.layers)
      } else {
        let ct = try run(weights.ct, view.ct.base, mask: nil, into: workspace, step)
        add(ct, to: features, column: width)
        try shared?.keep(ct, count: tokens * width, of: view.ct)
      }
    }
    return try project(try pool(features))
  }

  /// Activations of one pass, reused by the four.
  private final class Workspace {
    let hidden, qkv, attended, patches: Buffer<Float>
    /// Rows between the layers of a perceptron; nil if these are int8.
    let mlp: Buffer<Float>?
    /// nil if attention is int8.
    let keysValues: KeyValues?

    init(_ model: ModelDescription, attention: AttentionPrecision, int8Perceptrons: Bool) throws {
      let (rows, width) = (model.tokenGrid.count + 1, model.vision.width)
      hidden = try Buffer(count: rows * width)
      qkv = try Buffer(count: rows * 3 * width)
      attended = try Buffer(count: rows * width)
      mlp = int8Perceptrons ? nil : try Buffer(count: rows * model.vision.mlpWidth)
      patches = try Buffer(count: model.tokenGrid.count * model.vision.patch.count)
      keysValues =
        attention == .int8
        ? nil : try KeyValues(heads: model.visionHeads, headWidth: model.vision.headWidth, capacity: rows)
    }
  }

  /// One tower on one image.
  /// - Returns: the normalized tokens without the class token, in `workspace`.
  private func run(
    _ tower: VisionTower, _ image: UnsafePointer<Float>, mask: UnsafePointer<Float>?, into workspace: Workspace,
    _ step: () throws -> Void
  ) throws -> UnsafePointer<Float> {
    let (tokens, width) = (model.tokenGrid.count, model.vision.width)
    let hidden = workspace.hidden.base
    let first = tower.classToken == nil ? 0 : 1
    let rows = tokens + first

    if let classToken = tower.classToken { hidden.update(from: classToken.base, count: width) }
    let embedded = hidden + first * width
    try embed(image, tower.patch, workspace, into: embedded, .store)
    compute.add(embedded, tower.position.base, rows: tokens, width: width)
    if let mask {
      try embed(mask, weights.maskPatch, workspace, into: embedded, .add)
      compute.add(embedded, weights.maskPosition.base, rows: tokens, width: width)
    }

    for block in tower.blocks {
      try compute.linear(
        hidden, rows: rows, after: .layerNorm(normalization(block.norm1)), block.qkv.weight, bias: block.qkv.bias?.base,
        into: workspace.qkv.base, scratch: scratch)
      try attend(rows, workspace)
      try compute.linear(
        workspace.attended.base, rows: rows, block.out.weight, bias: block.out.bias?.base, into: hidden, .add,
        scratch: scratch)
      try perceptron(block, rows, workspace)
      try step()
    }
    compute.layerNorm(hidden, rows: rows, width: width, normalization(tower.norm), into: hidden)
    return UnsafePointer(embedded)
  }

  private func normalization(_ norm: VisionTower.LayerNorm) -> LayerNormalization {
    LayerNormalization(weight: norm.weight.base, bias: norm.bias.base, epsilon: model.vision.normEpsilon)
  }

  private func perceptron(_ block: VisionTower.Block, _ rows: Int, _ workspace: Workspace) throws {
    let hidden = workspace.hidden.base
    let norm = RowPrelude.layerNorm(normalization(block.norm2))
    let (first, second) = (block.mlpIn, block.mlpOut)
    guard let mlp = workspace.mlp?.base else {
      return try compute.perceptron(
        hidden, rows: rows, after: norm, first.weight, bias: first.bias?.base, second.weight, bias: second.bias?.base,
        into: hidden, scratch: scratch)
    }
    try compute.linear(
      hidden, rows: rows, after: norm, first.weight, bias: first.bias?.base, into: mlp, .gelu, scratch: scratch)
    try compute.linear(
      mlp, rows: rows, second.weight, bias: second.bias?.base, into: hidden, .add, scratch: scratch)
  }

  private func attend(_ rows: Int, _ workspace: Workspace) throws {
    let (width, headWidth) = (model.vision.width, model.vision.headWidth)
    let qkv = workspace.qkv.base
    let scale = 1 / Float(headWidth).squareRoot()
    guard let keysValues = workspace.keysValues else {
      return try compute.attendInt8(
        queries: qkv, keys: qkv + width, values: qkv + 2 * width, stride: 3 * width, rows: rows,
        heads: model.visionHeads, headWidth: headWidth, scale: scale, into: workspace.attended.base, stride: width,
        scratch: scratch)
    }
    keysValues.truncate(to: 0)
    try keysValues.append(
      keys: qkv + width, keyStride: 3 * width, values: qkv + 2 * width, valueStride: 3 * width, rows: rows,
      compute)
    try compute.attend(
      queries: qkv, stride: 3 * width, rows: rows, heads: model.visionHeads, keysValues, mask: .full, scale: scale,
      into: workspace.attended.base, stride: width, scratch: scratch)
  }

  /// "Perceptron" patch embedding: the voxels of each patch, (pz, py, px), through one linear layer. Tokens run
  /// (z, y, x).
  private func embed(
    _ image: UnsafePointer<Float>, _ layer: Linear, _ workspace: Workspace, into out: UnsafeMutablePointer<Float>,
    _ epilogue: Epilogue
  ) throws {
    let (grid, patch, view) = (model.tokenGrid, model.vision.patch, model.views.extent)
    let patches = workspace.patches.base
    compute.pool.run(grid.depth) { tokenZ in
      var row = patches + tokenZ * grid.height * grid.width * patch.count
      for tokenY in 0..<grid.height {
        for tokenX in 0..<grid.width {
          for z in 0..<patch.depth {
            for y in 0..<patch.height {
              let line =
                ((tokenZ * patch.depth + z) * view.height + tokenY * patch.height + y) * view.width
                + tokenX * patch.width
              row.update(from: image + line, count: patch.width)
              row += patch.width
            }
          }
        }
      }
    }
    try compute.linear(
      patches, rows: grid.count, layer.weight, bias: layer.bias?.base, into: out, epilogue, scratch: scratch)
  }

  /// Adds a pass's tokens to columns `column...` of the features.
  private func add(_ tokens: UnsafePointer<Float>, to features: Buffer<Float>, column: Int) {
    let width = model.vision.width
    for token in 0..<model.tokenGrid.count {
      compute.add(features.base + token * 2 * width + column, tokens + token * width, rows: 1, width: width)
    }
  }

  /// Mean over windows of the token grid; what does not fill a window is dropped (torch `AvgPool3d`).
  private func pool(_ features: Buffer<Float>) throws -> Buffer<Float> {
    let (grid, window, pooled) = (model.tokenGrid, model.vision.pool, model.pooledGrid)
    let width = 2 * model.vision.width
    let out = try Buffer<Float>(count: pooled.count * width)
    for z in 0..<pooled.depth {
      for y in 0..<pooled.height {
        for x in 0..<pooled.width {
          let target = out.base + ((z * pooled.height + y) * pooled.width + x) * width
          for dz in 0..<window.depth {
            for dy in 0..<window.height {
              for dx in 0..<window.width {
                let token =
                  ((z * window.depth + dz) * grid.height + y * window.height + dy) * grid.width + x * window.width + dx
                compute.add(target, features.base + token * width, rows: 1, width: width)
              }
            }
          }
          let count = Float(window.count)
          for column in 0..<width { target[column] /= count }
        }
      }
    }
    return out
  }

  private func project(_ pooled: Buffer<Float>) throws -> Buffer<Float> {
    let rows = model.visionTokens
    var current = pooled
    for (index, layer) in weights.projector.enumerated() {
      let next = try Buffer<Float>(count: rows * layer.weight.rows)
      let last = index == weights.projector.count - 1
      try compute.linear(
        current.base, rows: rows, layer.weight, bias: layer.bias?.base, into: next.base,
        model.projector.kind == .mlp && !last ? .gelu : .store, scratch: scratch)
      current = next
    }
    return current
  }
}
