import Foundation
import Petar

/// A checkpoint folder of a few kilobytes, written by the test itself.
struct TestCheckpoint {
  struct Tensor {
    var name: String
    var shape: [Int]
    var values: [Float]
  }

  enum Decoder { case phi3, llama }

  /// JSON text of each setting.
  var config: [String: String]
  var generation: String? = "{\"eos_token_id\": [1000, 1001], \"max_new_tokens\": 77}"
  /// Lines of typical_findings.txt; without any there is no such file.
  var typicalFindings: [String] = []
  var tensors: [Tensor]
  var dtype = "F32"
  var shards = 1

  static let width = 16
  static let vocabulary = 1008

  init(_ decoder: Decoder, sharedTower: Bool = false, qkvBias: Bool = false) {
    config = [
      "model_type": decoder == .phi3 ? "\"lamed_phi3\"" : "\"lamed_llama\"", "hidden_size": "16",
      "intermediate_size": "20", "num_hidden_layers": "2", "num_attention_heads": "4", "num_key_value_heads": "2",
      "max_position_embeddings": "512", "rms_norm_eps": "3e-05", "rope_theta": "10000.0", "rope_scaling": "null",
      "hidden_act": "\"silu\"", "vocab_size": "1008", "sliding_window": "100", "image_channel": "1",
      "image_size": "[4, 8, 8]", "patch_size": "[2, 4, 4]", "vision_select_layer": "-1",
      "vision_select_feature": "\"patch\"", "mm_projector_type": "\"spp\"", "proj_layer_type": "\"mlp\"",
      "proj_layer_num": "2", "proj_pooling_type": "\"spatial\"", "proj_pooling_size": "2",
    ]
    tensors = []
    addDecoder(decoder)
    addTower("model.vision_tower.vision_tower.", qkvBias: qkvBias)
    add("model.vision_tower.vision_tower.cls_token", [1, 1, 64])
    addPatches("model.vision_tower.vision_tower.patch_embedding_mask.")
    if !sharedTower { addTower("model.vision_tower.ct_tower.", qkvBias: qkvBias) }
    for (place, inputs) in [(0, 128), (2, 16)] {
      add("model.mm_projector.projector.\(place).weight", [16, inputs])
      add("model.mm_projector.projector.\(place).bias", [16])
    }
  }

  private mutating func addDecoder(_ decoder: Decoder) {
    add("model.embed_tokens.weight", [Self.vocabulary, 16])
    for layer in 0..<2 {
      let at = "model.layers.\(layer)."
      switch decoder {
      case .phi3:
        add(at + "self_attn.qkv_proj.weight", [32, 16])
        add(at + "mlp.gate_up_proj.weight", [40, 16])
      case .llama:
        add(at + "self_attn.q_proj.weight", [16, 16])
        add(at + "self_attn.k_proj.weight", [8, 16])
        add(at + "self_attn.v_proj.weight", [8, 16])
        add(at + "mlp.gate_proj.weight", [20, 16])
        add(at + "mlp.up_proj.weight", [20, 16])
      }
      add(at + "self_attn.o_proj.weight", [16, 16])
      add(at + "mlp.down_proj.weight", [16, 20])
      add(at + "input_layernorm.weight", [16])
      add(at + "post_attention_layernorm.weight", [16])
    }
    add("model.norm.weight", [16])
    add("lm_head.weight", [Self.vocabulary, 16])
  }

  private mutating func addTower(_ at: String, qkvBias: Bool) {
    addPatches(at + "patch_embedding.")
    for norm in ["blocks.0.norm1.", "blocks.0.norm2.", "norm."] {
      add(at + norm + "weight", [64])
      add(at + norm + "bias", [64])
    }
    add(at + "blocks.0.attn.qkv.weight", [192, 64])
    if qkvBias { add(at + "blocks.0.attn.qkv.bias", [192]) }
    add(at + "blocks.0.attn.out_proj.weight", [64, 64])
    add(at + "blocks.0.attn.out_proj.bias", [64])
    add(at + "blocks.0.mlp.linear1.weight", [24, 64])
    add(at + "blocks.0.mlp.linear1.bias", [24])
    add(at + "blocks.0.mlp.linear2.weight", [64, 24])
    add(at + "blocks.0.mlp.linear2.bias", [64])
  }

  private mutating func addPatches(_ at: String) {
    add(at + "position_embeddings", [1, 8, 64])
    add(at + "patch_embeddings.1.weight", [64, 32])
    add(at + "patch_embeddings.1.bias", [64])
  }

  /// Multiples of 1/128 below 1: exact in f32, f16 and bf16.
  mutating func add(_ name: String, _ shape: [Int]) {
    var state = name.utf8.reduce(UInt32(2_166_136_261)) { ($0 ^ UInt32($1)) &* 16_777_619 }
    let values = (0..<shape.reduce(1, *)).map { _ in
      state = state &* 1_664_525 &+ 1_013_904_223
      return Float(Int(state >> 24) - 128) / 128
    }
    tensors.append(Tensor(name: name, shape: shape, values: values))
  }

  mutating func remove(_ name: String) { tensors.removeAll { $0.name == name } }

  mutating func change(_ name: String, _ change: (inout Tensor) -> Void) {
    for index in tensors.indices where tensors[index].name == name { change(&tensors[index]) }
  }

  /// The values of a tensor, row after row.
  func values(_ name: String) -> [Float] { tensors.first { $0.name == name }?.values ?? [] }

  // ---- Files ------------------------------------------------------------------------------------------------------

  /// Writes the folder, with the tokenizer of Tests/Fixtures/tokenizer/tiny (1006 pieces, <im_patch> 1002).
  func write(to folder: String) throws {
    let manager = FileManager.default
    try manager.createDirectory(atPath: folder, withIntermediateDirectories: true)
    let fixtures = URL(fileURLWithPath: #filePath).deletingLastPathComponent().deletingLastPathComponent()
      .deletingLastPathComponent().appendingPathComponent("Fixtures/tokenizer/tiny").path
    for name in try manager.contentsOfDirectory(atPath: fixtures) {
      try manager.copyItem(atPath: "\(fixtures)/\(name)", toPath: "\(folder)/\(name)")
    }
    let members = config.sorted { $0.key < $1.key }.map { "\"\($0.key)\": \($0.value)" }
    try text("{\(members.joined(separator: ", "))}", to: "\(folder)/config.json")
    if let generation { try text(generation, to: "\(folder)/generation_config.json") }
    if !typicalFindings.isEmpty {
      try text(typicalFindings.joined(separator: "\n"), to: "\(folder)/typical_findings.txt")
    }
    guard shards > 1 else {
      try Data(safetensors(tensors)).write(to: URL(fileURLWithPath: "\(folder)/model.safetensors"))
      return
    }
    var map: [String] = []
    for shard in 0..<shards {
      let part = tensors[shard * tensors.count / shards..<(shard + 1) * tensors.count / shards]
      let name = "model-\(shard + 1)-of-\(shards).safetensors"
      try Data(safetensors(Array(part))).write(to: URL(fileURLWithPath: "\(folder)/\(name)"))
      map += part.map { "\"\($0.name)\": \"\(name)\"" }
    }
    try text("{\"weight_map\": {\(map.joined(separator: ", "))}}", to: "\(folder)/model.safetensors.index.json")
  }

  func safetensors(_ tensors: [Tensor]) -> [UInt8] {
    var data: [UInt8] = []
    var fields: [String] = []
    for tensor in tensors {
      let start = data.count
      for value in tensor.values { append(value, to: &data) }
      fields.append(
        "\"\(tensor.name)\": {\"dtype\": \"\(dtype)\", \"shape\": \(tensor.shape), \"data_offsets\": [\(start), "
          + "\(data.count)]}")
    }
    return safetensorsFile(header: "{\(fields.joined(separator: ", "))}", data: data)
  }

  private func append(_ value: Float, to data: inout [UInt8]) {
    switch dtype {
    case "F16": withUnsafeBytes(of: Float16(value).bitPattern.littleEndian) { data += $0 }
    case "BF16": withUnsafeBytes(of: UInt16(value.bitPattern >> 16).littleEndian) { data += $0 }
    default: withUnsafeBytes(of: value.bitPattern.littleEndian) { data += $0 }
    }
  }

  private func text(_ text: String, to path: String) throws {
    try Data(text.utf8).write(to: URL(fileURLWithPath: path))
  }
}

func safetensorsFile(header: String, data: [UInt8]) -> [UInt8] {
  withUnsafeBytes(of: UInt64(header.utf8.count).littleEndian, Array.init) + Array(header.utf8) + data
}
