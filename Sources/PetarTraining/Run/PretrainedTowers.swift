import CPetar
import Petar
import PetarConversion

/// Towers to start from: those of M3D-CLIP, or of a whole model of PETAR or M3D. Where there is one tower, PET and CT
/// both start as it.
struct PretrainedTowers {
  let width: Int
  let layers: Int
  let mlpWidth: Int
  let qkvBias: Bool
  private let tensors: NamedTensors
  private let prefix: String

  /// - Throws: what `PretrainedFolder` throws; `PETAR_ERROR_BAD_FILE` when there is no tower in the folder.
  init(path: String) throws {
    let tensors = try PretrainedFolder(path: path).tensors
    self.tensors = tensors
    let prefixes = ["vision_encoder.", TensorPlanner.visionPrefix, ""]
    guard let prefix = prefixes.first(where: { tensors.shape(of: $0 + "norm.weight")?.count == 1 }),
      let width = tensors.shape(of: prefix + "norm.weight")?.first,
      let mlpWidth = tensors.shape(of: prefix + "blocks.0.mlp.linear1.weight")?.first
    else {
      throw PetarError(
        PETAR_ERROR_BAD_FILE,
        "\(path): there is no vision tower, which M3D-CLIP calls vision_encoder and a whole model "
          + "\(TensorPlanner.visionPrefix.dropLast())")
    }
    self.prefix = prefix
    self.width = width
    self.mlpWidth = mlpWidth
    layers = (1...1024).first { tensors.shape(of: "\(prefix)blocks.\($0).norm1.weight") == nil } ?? 1024
    qkvBias = tensors.shape(of: prefix + "blocks.0.attn.qkv.bias") != nil
  }

  /// Copies the weights. The embedding of masks stays as it is where there is none.
  /// - Throws: `PETAR_ERROR_BAD_FILE` naming a tensor that is missing, of another shape or not finite.
  func fill(_ parameters: Parameters) throws {
    for part in parameters.tensors.filter({ $0.name.hasPrefix("vision.") }) {
      guard let tensor = part.parts.first, let source = source(of: tensor.name) else { continue }
      try tensors.read(source, shape: tensor.shape, into: part.values.base)
    }
  }

  private func source(of name: String) -> String? {
    if name.hasPrefix(TensorPlanner.ctPrefix) {
      return tensors.shape(of: name) == nil ? prefix + name.dropFirst(TensorPlanner.ctPrefix.count) : name
    }
    let source = prefix + name.dropFirst(TensorPlanner.visionPrefix.count)
    return name.contains(".patch_embedding_mask.") && tensors.shape(of: source) == nil ? nil : source
  }
}
