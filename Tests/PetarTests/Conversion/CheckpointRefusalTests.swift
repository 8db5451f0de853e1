import CPetar
import Foundation
import Petar
import PetarConversion
import Testing

@Suite("Checkpoints that are refused") struct CheckpointRefusalTests {
  /// Converts and returns the message; the folder must hold no output afterwards.
  private func refusal(
    _ checkpoint: TestCheckpoint, status: petar_status = PETAR_ERROR_BAD_FILE, weights: Encoding = .f32,
    damage: (String) throws -> Void = { _ in }
  ) throws -> String {
    try withTemporaryFolder { folder in
      try checkpoint.write(to: "\(folder)/tiny")
      try damage("\(folder)/tiny")
      defer { #expect((try? FileManager.default.contentsOfDirectory(atPath: folder)) == ["tiny"]) }
      do {
        try convert(checkpoint: "\(folder)/tiny", output: "\(folder)/tiny.petar", weights: weights)
      } catch let error as PetarError {
        #expect(error.status == status, "\(error.message)")
        return error.message
      }
      Issue.record("it was converted")
      return ""
    }
  }

  @Test func anImageTokenThatAnotherTokenSwallows() throws {
    let message = try refusal(TestCheckpoint(.llama)) { folder in
      for name in ["added_tokens.json", "tokenizer_config.json"] {
        let path = URL(fileURLWithPath: "\(folder)/\(name)")
        let tokens = try String(contentsOf: path, encoding: .utf8)
        try Data(tokens.replacing("[SEG]", with: "<im_patch><im_patch>").utf8).write(to: path)
      }
    }
    #expect(message.contains("<im_patch>"), "\(message)")
  }

  // ---- Tensors ----------------------------------------------------------------------------------------------------

  @Test func everyTensorThatIsWrongIsNamed() throws {
    var checkpoint = TestCheckpoint(.llama)
    checkpoint.remove("model.layers.1.self_attn.k_proj.weight")
    checkpoint.remove("model.vision_tower.ct_tower.norm.bias")
    checkpoint.add("model.layers.0.self_attn.q_proj.lora_A.weight", [4, 16])
    checkpoint.add("model.layers.2.input_layernorm.weight", [16])
    checkpoint.add("model.vision_tower.ct_tower.cls_token", [1, 1, 64])
    checkpoint.remove("model.layers.0.mlp.down_proj.weight")
    checkpoint.add("model.layers.0.mlp.down_proj.weight", [20, 16])
    let message = try refusal(checkpoint)
    for line in [
      "missing: model.layers.1.self_attn.k_proj.weight [8, 16]", "missing: model.vision_tower.ct_tower.norm.bias [64]",
      "unexpected: model.layers.0.self_attn.q_proj.lora_A.weight", "unexpected: model.layers.2.input_layernorm.weight",
      "unexpected: model.vision_tower.ct_tower.cls_token",
      "misshapen: model.layers.0.mlp.down_proj.weight is [20, 16], [16, 20] is expected",
    ] {
      #expect(message.contains("\n  \(line)"), "\(message)")
    }
    #expect(message.split(separator: "\n").count == 7)
  }

  @Test func aCheckpointWithoutAnyOfIt() throws {
    var checkpoint = TestCheckpoint(.phi3)
    checkpoint.tensors.removeAll { $0.name.hasPrefix("model.vision_tower") }
    let message = try refusal(checkpoint)
    #expect(message.contains("missing: model.vision_tower.vision_tower.blocks.0.attn.qkv.weight [?, ?]"), "\(message)")
  }

  @Test func positionsThatDoNotFitTheImage() throws {
    var checkpoint = TestCheckpoint(.phi3)
    checkpoint.config["image_size"] = "[4, 8, 16]"
    let message = try refusal(checkpoint)
    #expect(
      message.contains("patch_embedding.position_embeddings is [1, 8, 64], [1, 16, 64] is expected"), "\(message)")
  }

  @Test func harmlessLeftoversAreIgnored() throws {
    var checkpoint = TestCheckpoint(.phi3)
    let names = [
      "model.layers.0.self_attn.rotary_emb.inv_freq", "model.seg_module.image_encoder.weight",
      "model.vision_tower.vision_tower.blocks.0.norm_cross_attn.weight",
    ]
    for name in names { checkpoint.add(name, [2]) }
    try withTemporaryFolder { folder in
      try checkpoint.write(to: "\(folder)/tiny")
      let report = try convert(checkpoint: "\(folder)/tiny", output: "\(folder)/tiny.petar", weights: .f32)
      #expect(report.ignored == names)
    }
  }

  @Test func valuesThatAreNotFinite() throws {
    for (dtype, value) in [("F32", Float.nan), ("F16", .infinity), ("BF16", -.infinity)] {
      var checkpoint = TestCheckpoint(.phi3)
      checkpoint.dtype = dtype
      checkpoint.change("model.layers.1.mlp.gate_up_proj.weight") { $0.values[17] = value }
      #expect(try refusal(checkpoint).contains("tensor model.layers.1.mlp.gate_up_proj.weight holds NaN or infinity"))
    }
  }

  @Test func valuesTooLargeForHalfPrecision() throws {
    var checkpoint = TestCheckpoint(.phi3)
    checkpoint.change("lm_head.weight") { $0.values[3] = 70000 }
    let message = try refusal(checkpoint, status: PETAR_ERROR_UNSUPPORTED, weights: .f16)
    #expect(message.contains("lm_head.weight") && message.contains("too large for f16"))
  }

  @Test func typesThatAreNotConverted() throws {
    var checkpoint = TestCheckpoint(.phi3)
    checkpoint.dtype = "I32"
    #expect(try refusal(checkpoint).contains("type: lm_head.weight is I32; F32, F16 and BF16 can be converted"))
  }

  // ---- Settings ---------------------------------------------------------------------------------------------------

  @Test(arguments: [
    ("rope_scaling", "{\"type\": \"longrope\", \"short_factor\": [1.0]}", "rope_scaling is of type \"longrope\""),
    ("rope_parameters", "{\"rope_type\": \"yarn\"}", "rope_parameters is of type \"yarn\""),
    ("attention_bias", "true", "attention_bias is true"),
    ("partial_rotary_factor", "0.75", "partial_rotary_factor is 0.75"),
    ("hidden_act", "\"gelu\"", "hidden_act is \"gelu\""),
    ("vision_select_layer", "-2", "vision_select_layer is -2"),
    ("vision_select_feature", "\"cls_patch\"", "vision_select_feature is \"cls_patch\""),
    ("proj_pooling_type", "\"sequence\"", "proj_pooling_type is \"sequence\""),
    ("mm_projector_type", "\"identity\"", "mm_projector_type is \"identity\""),
    ("proj_layer_type", "\"conv\"", "proj_layer_type is missing or neither"),
    ("image_size", "[4, 8]", "image_size is [4, 8], not three"),
    ("patch_size", "null", "patch_size is missing"),
    ("hidden_size", "1e300", "hidden_size is 1e+300, not a whole number"),
    ("num_attention_heads", "\"many\"", "num_attention_heads is \"many\""),
  ])
  func settings(key: String, value: String, sentence: String) throws {
    var checkpoint = TestCheckpoint(.phi3)
    checkpoint.config[key] = value
    let message = try refusal(checkpoint)
    #expect(message.contains("setting: \(sentence)"), "\(message)")
  }

  @Test func noEndOfText() throws {
    var checkpoint = TestCheckpoint(.phi3)
    checkpoint.generation = nil
    #expect(try refusal(checkpoint).contains("eos_token_id is in neither"))
  }

  // ---- Files ------------------------------------------------------------------------------------------------------

  @Test func picklesAreRefusedWithAWayOut() throws {
    let message = try refusal(TestCheckpoint(.phi3)) { folder in
      try FileManager.default.moveItem(
        atPath: "\(folder)/model.safetensors", toPath: "\(folder)/pytorch_model.bin")
    }
    #expect(message.contains("pickled (pytorch_model.bin)"))
    #expect(message.contains("save_file(") && message.contains("weights_only=True"))
  }

  @Test func shardsAndIndexThatDoNotAgree() throws {
    var checkpoint = TestCheckpoint(.phi3)
    checkpoint.shards = 2
    let lost = try refusal(checkpoint) { try FileManager.default.removeItem(atPath: "\($0)/model-2-of-2.safetensors") }
    #expect(lost.contains("model-2-of-2.safetensors is missing"))

    let twice = try refusal(checkpoint) { folder in
      try FileManager.default.removeItem(atPath: "\(folder)/model-2-of-2.safetensors")
      try FileManager.default.copyItem(
        atPath: "\(folder)/model-1-of-2.safetensors", toPath: "\(folder)/model-2-of-2.safetensors")
    }
    #expect(twice.contains("is in both"))

    let outside = try refusal(checkpoint) { folder in
      let index = "{\"weight_map\": {\"lm_head.weight\": \"../model.safetensors\"}}"
      try Data(index.utf8).write(to: URL(fileURLWithPath: "\(folder)/model.safetensors.index.json"))
    }
    #expect(outside.contains("no .safetensors file of this folder"))

    let both = try refusal(checkpoint) { folder in
      try Data().write(to: URL(fileURLWithPath: "\(folder)/model.safetensors"))
    }
    #expect(both.contains("there are both"))
  }

  @Test func aTokenizerWithoutTheImageToken() throws {
    let message = try refusal(TestCheckpoint(.phi3)) { folder in
      for name in ["added_tokens.json", "tokenizer_config.json", "special_tokens_map.json"] {
        try FileManager.default.removeItem(atPath: "\(folder)/\(name)")
      }
    }
    #expect(message.contains("no token <im_patch>"))
  }

  @Test func foldersThatAreNone() throws {
    try withTemporaryFolder { folder in
      expectFailure(PETAR_ERROR_IO, "cannot open the checkpoint folder") {
        try convert(checkpoint: "\(folder)/none", output: "\(folder)/x.petar", weights: .f32)
      }
      expectFailure(PETAR_ERROR_BAD_FILE, "there is no config.json") {
        try convert(checkpoint: folder, output: "\(folder)/x.petar", weights: .f32)
      }
    }
  }

  @Test(arguments: ["config.json", "model.safetensors", "tokenizer.model"]) func pipes(_ name: String) throws {
    let message = try refusal(TestCheckpoint(.phi3), status: PETAR_ERROR_IO) { folder in
      try FileManager.default.removeItem(atPath: "\(folder)/\(name)")
      try #require(mkfifo("\(folder)/\(name)", 0o600) == 0)
    }
    #expect(message.contains("\(name): it is not a regular file"), "\(message)")
  }

  @Test(arguments: ["config.json", "tokenizer.model"]) func settingsWithoutEnd(_ name: String) throws {
    let message = try refusal(TestCheckpoint(.phi3)) { folder in
      try #require(truncate("\(folder)/\(name)", 1 << 40) == 0)
    }
    #expect(message.contains("1099511627776 bytes are more than such a file can have"), "\(message)")
  }

  @Test(arguments: [[String](repeating: "a", count: 513), [String(repeating: "a", count: 1025)]])
  func typicalFindingsThatAreTooManyOrTooLong(_ findings: [String]) throws {
    var checkpoint = TestCheckpoint(.phi3)
    checkpoint.typicalFindings = findings
    let message = try refusal(checkpoint)
    #expect(
      message.contains("typical_findings.txt: \(findings.count) lines; at most 512 findings of 1024 bytes"),
      "\(message)")
  }

  // ---- Safetensors ------------------------------------------------------------------------------------------------

  /// A header for two f32 tensors of 2 and 3 values, 20 bytes of data.
  @Test(arguments: [
    ("[0, 8]", "[12, 20]", 20, "4 bytes before tensor b belong to no tensor"),
    ("[0, 8]", "[4, 16]", 16, "tensor b overlaps the one before it"),
    ("[0, 8]", "[8, 20]", 24, "4 bytes at the end belong to no tensor"),
    ("[0, 8]", "[8, 20]", 19, "tensor b lies at 8..<20, outside the file's 19 bytes"),
    ("[0, 12]", "[12, 20]", 20, "tensor a of shape [2] and type F32 cannot take 12 bytes"),
    ("[8, 0]", "[8, 20]", 20, "tensor a lies at 8..<0"),
    ("[0, 8.5]", "[8, 20]", 20, "tensor a has no proper dtype, shape and data_offsets"),
    ("[-8, 0]", "[8, 20]", 20, "tensor a lies at -8..<0"),
  ])
  func safetensorsRules(first: String, second: String, bytes: Int, sentence: String) throws {
    let columns = second == "[12, 20]" ? 2 : 3
    let header =
      "{\"a\": {\"dtype\": \"F32\", \"shape\": [2], \"data_offsets\": \(first)}, "
      + "\"b\": {\"dtype\": \"F32\", \"shape\": [\(columns)], \"data_offsets\": \(second)}}"
    let message = try refusedWeights(safetensorsFile(header: header, data: [UInt8](repeating: 0, count: bytes)))
    #expect(message.contains(sentence), "\(message)")
  }

  @Test func safetensorsFilesThatAreNone() throws {
    let field = "{\"dtype\": \"F32\", \"shape\": [9000000000, 9000000000], \"data_offsets\": [0, 0]}"
    for (file, sentence) in [
      ([1, 2, 3], "it has 3 bytes"),
      ([UInt8](repeating: 0xff, count: 9), "a header of 18446744073709551615 bytes in 9 bytes"),
      (safetensorsFile(header: "{", data: []), "not valid JSON"),
      (safetensorsFile(header: "[]", data: []), "not a JSON object"),
      (safetensorsFile(header: "{\"a\": \(field)}", data: []), "tensor a has an impossible shape"),
      (safetensorsFile(header: "{\"a\": \(field), \"a\": \(field)}", data: []), "\"a\" is there twice"),
    ] {
      let message = try refusedWeights(file)
      #expect(message.contains(sentence), "\(message)")
    }
  }

  private func refusedWeights(_ bytes: [UInt8]) throws -> String {
    try refusal(TestCheckpoint(.phi3)) { folder in
      try Data(bytes).write(to: URL(fileURLWithPath: "\(folder)/model.safetensors"))
    }
  }
}
