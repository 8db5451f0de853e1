/// The names of the tensors in a .petar file.
///
/// Matrices (`weight` of a linear layer, the embedding) are packed (`MatrixLayout`); everything else is a plain
/// f32 vector. Shapes are (rows, columns) = (outputs, inputs).
package enum TensorName {
  /// A vision tower: PET, and CT unless the tower is shared.
  package enum Tower: String, Sendable { case pet, ct }

  /// (width, patch voxels), voxels in (z, y, x) order.
  package static func patchWeight(_ tower: Tower) -> String { "vision.\(tower).patch.weight" }
  package static func patchBias(_ tower: Tower) -> String { "vision.\(tower).patch.bias" }
  /// (tokens, width), as a vector.
  package static func position(_ tower: Tower) -> String { "vision.\(tower).position" }
  package static let maskPatchWeight = "vision.mask.patch.weight"
  package static let maskPatchBias = "vision.mask.patch.bias"
  package static let maskPosition = "vision.mask.position"
  /// (width); PET tower only.
  package static let classToken = "vision.pet.class_token"

  package static func norm1Weight(_ tower: Tower, _ layer: Int) -> String { "vision.\(tower).\(layer).norm1.weight" }
  package static func norm1Bias(_ tower: Tower, _ layer: Int) -> String { "vision.\(tower).\(layer).norm1.bias" }
  /// (3 width, width), rows q | k | v, each head by head.
  package static func visionQKV(_ tower: Tower, _ layer: Int) -> String { "vision.\(tower).\(layer).qkv.weight" }
  package static func visionQKVBias(_ tower: Tower, _ layer: Int) -> String { "vision.\(tower).\(layer).qkv.bias" }
  package static func visionOut(_ tower: Tower, _ layer: Int) -> String { "vision.\(tower).\(layer).out.weight" }
  package static func visionOutBias(_ tower: Tower, _ layer: Int) -> String { "vision.\(tower).\(layer).out.bias" }
  package static func norm2Weight(_ tower: Tower, _ layer: Int) -> String { "vision.\(tower).\(layer).norm2.weight" }
  package static func norm2Bias(_ tower: Tower, _ layer: Int) -> String { "vision.\(tower).\(layer).norm2.bias" }
  package static func mlpIn(_ tower: Tower, _ layer: Int) -> String { "vision.\(tower).\(layer).mlp_in.weight" }
  package static func mlpInBias(_ tower: Tower, _ layer: Int) -> String { "vision.\(tower).\(layer).mlp_in.bias" }
  package static func mlpOut(_ tower: Tower, _ layer: Int) -> String { "vision.\(tower).\(layer).mlp_out.weight" }
  package static func mlpOutBias(_ tower: Tower, _ layer: Int) -> String { "vision.\(tower).\(layer).mlp_out.bias" }
  package static func visionNormWeight(_ tower: Tower) -> String { "vision.\(tower).norm.weight" }
  package static func visionNormBias(_ tower: Tower) -> String { "vision.\(tower).norm.bias" }

  package static func projectorWeight(_ layer: Int) -> String { "projector.\(layer).weight" }
  package static func projectorBias(_ layer: Int) -> String { "projector.\(layer).bias" }

  /// (vocabulary, width); the head too when embeddings are tied.
  package static let embedding = "decoder.embedding.weight"
  package static func attentionNorm(_ layer: Int) -> String { "decoder.\(layer).attention_norm.weight" }
  /// ((heads + 2 key/value heads) head width, width), rows q | k | v.
  package static func qkv(_ layer: Int) -> String { "decoder.\(layer).qkv.weight" }
  package static func attentionOut(_ layer: Int) -> String { "decoder.\(layer).out.weight" }
  package static func ffnNorm(_ layer: Int) -> String { "decoder.\(layer).ffn_norm.weight" }
  /// (2 FFN width, width), rows gate | up.
  package static func gateUp(_ layer: Int) -> String { "decoder.\(layer).gate_up.weight" }
  package static func down(_ layer: Int) -> String { "decoder.\(layer).down.weight" }
  package static let finalNorm = "decoder.norm.weight"
  package static let head = "decoder.head.weight"
}
