/// A linear layer: y = W x + b.
package struct Linear: Sendable {
  package let weight: Matrix
  package let bias: Vector?
}

/// A vision tower: patch embedding, pre-norm transformer blocks, final norm (MONAI ViT, as M3D uses it).
package struct VisionTower: Sendable {
  package struct Block: Sendable {
    package let norm1: LayerNorm
    /// Rows q | k | v, head by head.
    package let qkv: Linear
    package let out: Linear
    package let norm2: LayerNorm
    package let mlpIn: Linear
    package let mlpOut: Linear
  }

  package struct LayerNorm: Sendable {
    package let weight: Vector
    package let bias: Vector
  }

  package let patch: Linear
  /// (tokens, width)
  package let position: Vector
  /// Put in front of the tokens and dropped again after the last block.
  package let classToken: Vector?
  package let blocks: [Block]
  package let norm: LayerNorm
}

/// Everything between the six arrays and the decoder's image tokens.
package struct VisionWeights: Sendable {
  package let pet: VisionTower
  /// The same tower again in the paper's shared layout.
  package let ct: VisionTower
  package let maskPatch: Linear
  package let maskPosition: Vector
  package let projector: [Linear]

  package init(_ file: PetarFile) throws {
    let model = file.description
    let (width, tokens) = (model.vision.width, model.tokenGrid.count)
    let patchVoxels = model.vision.patch.count

    pet = try Self.tower(.pet, file, model)
    ct = model.vision.sharedTower ? pet : try Self.tower(.ct, file, model)
    maskPatch = Linear(
      weight: try file.matrix(TensorName.maskPatchWeight, rows: width, columns: patchVoxels),
      bias: try file.vector(TensorName.maskPatchBias, count: width))
    maskPosition = try file.vector(TensorName.maskPosition, count: tokens * width)
    projector = try (0..<model.projector.layers).map { layer in
      Linear(
        weight: try file.matrix(
          TensorName.projectorWeight(layer), rows: model.decoder.width,
          columns: layer == 0 ? 2 * width : model.decoder.width),
        bias: try file.vector(TensorName.projectorBias(layer), count: model.decoder.width))
    }
  }

  private static func tower(
    _ tower: TensorName.Tower, _ file: PetarFile, _ model: ModelDescription
  ) throws -> VisionTower {
    let (width, mlp) = (model.vision.width, model.vision.mlpWidth)
    func norm(_ weight: String, _ bias: String) throws -> VisionTower.LayerNorm {
      .init(weight: try file.vector(weight, count: width), bias: try file.vector(bias, count: width))
    }
    let blocks = try (0..<model.vision.layers).map { layer in
      VisionTower.Block(
        norm1: try norm(TensorName.norm1Weight(tower, layer), TensorName.norm1Bias(tower, layer)),
        qkv: Linear(
          weight: try file.matrix(TensorName.visionQKV(tower, layer), rows: 3 * width, columns: width),
          bias: model.vision.qkvBias
            ? try file.vector(TensorName.visionQKVBias(tower, layer), count: 3 * width) : nil),
        out: Linear(
          weight: try file.matrix(TensorName.visionOut(tower, layer), rows: width, columns: width),
          bias: try file.vector(TensorName.visionOutBias(tower, layer), count: width)),
        norm2: try norm(TensorName.norm2Weight(tower, layer), TensorName.norm2Bias(tower, layer)),
        mlpIn: Linear(
          weight: try file.matrix(TensorName.mlpIn(tower, layer), rows: mlp, columns: width),
          bias: try file.vector(TensorName.mlpInBias(tower, layer), count: mlp)),
        mlpOut: Linear(
          weight: try file.matrix(TensorName.mlpOut(tower, layer), rows: width, columns: mlp),
          bias: try file.vector(TensorName.mlpOutBias(tower, layer), count: width)))
    }
    return VisionTower(
      patch: Linear(
        weight: try file.matrix(
          TensorName.patchWeight(tower), rows: width, columns: model.vision.patch.count),
        bias: try file.vector(TensorName.patchBias(tower), count: width)),
      position: try file.vector(TensorName.position(tower), count: model.tokenGrid.count * width),
      classToken: tower == .pet ? try file.vector(TensorName.classToken, count: width) : nil,
      blocks: blocks,
      norm: try norm(TensorName.visionNormWeight(tower), TensorName.visionNormBias(tower)))
  }
}
