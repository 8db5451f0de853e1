import CPetar
import Petar

/// What a checkpoint is, worked out from its settings and the tensors that are there.
struct CheckpointLayout {
  /// Complete but for the tokenizer's and the provenance's parts.
  let description: ModelDescription
  let plans: [TensorPlan]
  /// Tensors that take no part in describing and are left out, by name.
  let ignored: [String]

  /// - Throws: `PETAR_ERROR_BAD_FILE` that names every setting that cannot be converted and every tensor that is
  ///   missing, unexpected or misshapen.
  init(_ checkpoint: Checkpoint) throws {
    let tensors = checkpoint.tensors
    // The families differ in how layers are stored, and checkpoints call themselves all sorts of names.
    let fused = tensors.keys.contains { $0.hasSuffix(".qkv_proj.weight") || $0.hasSuffix(".gate_up_proj.weight") }
    let settings = CheckpointSettings(config: checkpoint.config, generation: checkpoint.generation, fused: fused)
    var problems = settings.problems.map { "setting: \($0)" }
    var description = settings.description
    description.vision = Self.vision(description.vision, from: tensors)
    if description.vision.width % description.vision.headWidth != 0 {
      problems.append("setting: vision width \(description.vision.width) is not a multiple of the head width 64")
    }
    plans = TensorPlanner.plans(for: description, fused: fused)

    // Missing and misshapen.
    var expected: Set<String> = []
    for part in plans.flatMap(\.parts) {
      expected.insert(part.name)
      guard let tensor = tensors[part.name] else {
        problems.append("missing: \(part.name) \(Self.text(part.shape))")
        continue
      }
      let fits =
        tensor.shape.count == part.shape.count && zip(tensor.shape, part.shape).allSatisfy { $1 == 0 || $0 == $1 }
      if !fits {
        problems.append("misshapen: \(part.name) is \(tensor.shape), \(Self.text(part.shape)) is expected")
      } else if tensor.type == nil {
        problems.append("type: \(part.name) is \(tensor.typeName); F32, F16 and BF16 can be converted")
      }
    }
    // Unexpected.
    var ignored: [String] = []
    for name in tensors.keys.sorted() where !expected.contains(name) {
      if Self.takesNoPart(name, tied: description.decoder.tiedEmbeddings) {
        ignored.append(name)
      } else {
        problems.append("unexpected: \(name)")
      }
    }
    guard problems.isEmpty else {
      throw PetarError(
        PETAR_ERROR_BAD_FILE,
        "\(checkpoint.folder): this checkpoint cannot be converted\n  " + problems.joined(separator: "\n  "))
    }
    self.description = description
    self.ignored = ignored
  }

  /// Width, depth and MLP from the shapes: config.json does not have them. 0 where nothing tells.
  private static func vision(
    _ settings: ModelDescription.Vision, from tensors: [String: CheckpointTensor]
  ) -> ModelDescription.Vision {
    func rows(_ suffixes: String...) -> Int {
      for prefix in [TensorPlanner.visionPrefix, TensorPlanner.ctPrefix] {
        for suffix in suffixes {
          if let first = tensors[prefix + suffix]?.shape.first, (1...1 << 18).contains(first) { return first }
        }
      }
      return 0
    }
    var vision = settings
    vision.width = rows("patch_embedding.patch_embeddings.1.weight", "norm.weight", "blocks.0.norm1.weight")
    vision.mlpWidth = rows("blocks.0.mlp.linear1.weight", "blocks.0.mlp.linear1.bias")
    vision.sharedTower = !tensors.keys.contains { $0.hasPrefix(TensorPlanner.ctPrefix) }
    vision.qkvBias = tensors.keys.contains {
      $0.hasPrefix("model.vision_tower.") && $0.hasSuffix(".attn.qkv.bias")
    }
    let blocks = [TensorPlanner.visionPrefix, TensorPlanner.ctPrefix].flatMap { prefix in
      tensors.keys.compactMap { blockIndex($0, after: prefix + "blocks.") }
    }
    // At least one, so that a checkpoint without any block is told which tensors it lacks.
    vision.layers = (blocks.max() ?? 0) + 1
    return vision
  }

  /// A shape as Python prints it; "?" for a side that nothing tells.
  private static func text(_ shape: [Int]) -> String {
    "[" + shape.map { $0 == 0 ? "?" : "\($0)" }.joined(separator: ", ") + "]"
  }

  /// The number behind the prefix; nil for none or one no real tower has.
  private static func blockIndex(_ name: String, after prefix: String) -> Int? {
    guard name.hasPrefix(prefix) else { return nil }
    let number = name.dropFirst(prefix.count).prefix { $0 != "." }
    return Int(number).flatMap { (0..<1024).contains($0) ? $0 : nil }
  }

  private static func takesNoPart(_ name: String, tied: Bool) -> Bool {
    // Buffers that older versions of transformers stored.
    if name.hasSuffix(".rotary_emb.inv_freq") || name.hasSuffix(".position_ids") { return true }
    // M3D's segmentation head: it draws masks and has no say in the text.
    if name.hasPrefix("model.seg_module.") || name.hasPrefix("model.seg_projector.") { return true }
    // MONAI from 1.4 on makes these for every block and runs them in none of these towers.
    if name.hasPrefix("model.vision_tower."), name.contains(".norm_cross_attn.") || name.contains(".cross_attn.") {
      return true
    }
    return tied && name == "lm_head.weight"
  }
}
