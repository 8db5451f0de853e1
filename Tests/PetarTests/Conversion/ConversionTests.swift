import CPetar
import Foundation
import Petar
import PetarConversion
import Testing

@Suite("Conversion") struct ConversionTests {
  /// The rows of a packed matrix, one behind the other.
  private func rows(_ matrix: Matrix) throws -> [Float] {
    var values = [Float](repeating: 0, count: matrix.rows * matrix.columns)
    for row in 0..<matrix.rows {
      try values.withUnsafeMutableBufferPointer { buffer in
        if let base = buffer.baseAddress { try matrix.unpackRow(row, into: base + row * matrix.columns) }
      }
    }
    return values
  }

  private func converted(
    _ checkpoint: TestCheckpoint, weights: Encoding = .f32, _ body: (PetarFile, ConversionReport) throws -> Void
  ) throws {
    try withTemporaryFolder { folder in
      try checkpoint.write(to: "\(folder)/tiny")
      let report = try convert(checkpoint: "\(folder)/tiny", output: "\(folder)/tiny.petar", weights: weights)
      try body(try PetarFile.open(path: "\(folder)/tiny.petar", verify: true), report)
    }
  }

  @Test func phi3WithTwoTowers() throws {
    let checkpoint = TestCheckpoint(.phi3)
    try converted(checkpoint) { file, _ in
      let model = file.description
      #expect(model.name == "tiny")
      #expect(model.views.extent == ModelDescription.Extent(4, 8, 8))
      #expect(model.vision.patch == ModelDescription.Extent(2, 4, 4))
      #expect(model.vision.pool == ModelDescription.Extent(2, 2, 2))
      #expect(model.vision.width == 64 && model.vision.layers == 1 && model.vision.mlpWidth == 24)
      #expect(!model.vision.sharedTower && !model.vision.qkvBias)
      #expect(model.projector.kind == .mlp && model.projector.layers == 2)
      #expect(model.decoder.family == "lamed_phi3")
      #expect(model.decoder.slidingWindow == 100)
      #expect(model.decoder.heads == 4 && model.decoder.keyValueHeads == 2 && model.decoder.headWidth == 4)
      #expect(model.decoder.normEpsilon == 3e-5)
      #expect(model.prompt.imageToken == 1002)
      #expect(model.prompt.endOfText == [1000, 1001])
      #expect(model.prompt.maxTokens == 77)
      #expect(model.prompt.question == "Please describe the region highlighted in the PET image.")
      #expect(model.provenance.source == "tiny" && model.provenance.licence == "not stated")

      // One of every sort, bit for bit.
      let tower = "model.vision_tower.vision_tower."
      for (name, source, shape) in [
        (TensorName.patchWeight(.pet), tower + "patch_embedding.patch_embeddings.1.weight", (64, 32)),
        (TensorName.maskPatchWeight, tower + "patch_embedding_mask.patch_embeddings.1.weight", (64, 32)),
        (TensorName.visionQKV(.ct, 0), "model.vision_tower.ct_tower.blocks.0.attn.qkv.weight", (192, 64)),
        (TensorName.mlpIn(.pet, 0), tower + "blocks.0.mlp.linear1.weight", (24, 64)),
        (TensorName.projectorWeight(0), "model.mm_projector.projector.0.weight", (16, 128)),
        (TensorName.projectorWeight(1), "model.mm_projector.projector.2.weight", (16, 16)),
        (TensorName.qkv(1), "model.layers.1.self_attn.qkv_proj.weight", (32, 16)),
        (TensorName.gateUp(0), "model.layers.0.mlp.gate_up_proj.weight", (40, 16)),
        (TensorName.down(0), "model.layers.0.mlp.down_proj.weight", (16, 20)),
        (TensorName.head, "lm_head.weight", (1008, 16)),
      ] {
        let values = try rows(file.matrix(name, rows: shape.0, columns: shape.1))
        #expect(values == checkpoint.values(source), "\(name)")
      }
      for (name, source, count) in [
        (TensorName.classToken, tower + "cls_token", 64),
        (TensorName.position(.ct), "model.vision_tower.ct_tower.patch_embedding.position_embeddings", 512),
        (TensorName.maskPosition, tower + "patch_embedding_mask.position_embeddings", 512),
        (TensorName.ffnNorm(1), "model.layers.1.post_attention_layernorm.weight", 16),
      ] {
        let values = Array(try file.vector(name, count: count).elements)
        #expect(values == checkpoint.values(source), "\(name)")
      }
    }
  }

  enum Setting: CaseIterable {
    case headWidth, allHeadsWithKeys, rotationInParameters, cubicViews
  }

  @Test("Settings that checkpoints leave out or write in another way", arguments: Setting.allCases)
  func otherSettings(_ setting: Setting) throws {
    var checkpoint = TestCheckpoint(.phi3)
    func reshape(_ name: String, _ shape: [Int]) {
      checkpoint.remove(name)
      checkpoint.add(name, shape)
    }
    let holds: (ModelDescription) -> Bool
    switch setting {
    case .headWidth:
      // Not 16 / 4.
      checkpoint.config["head_dim"] = "6"
      for layer in 0..<2 {
        reshape("model.layers.\(layer).self_attn.qkv_proj.weight", [(4 + 2 * 2) * 6, 16])
        reshape("model.layers.\(layer).self_attn.o_proj.weight", [16, 4 * 6])
      }
      holds = { $0.decoder.headWidth == 6 }
    case .allHeadsWithKeys:
      checkpoint.config["num_key_value_heads"] = nil
      for layer in 0..<2 { reshape("model.layers.\(layer).self_attn.qkv_proj.weight", [(4 + 2 * 4) * 4, 16]) }
      holds = { $0.decoder.keyValueHeads == 4 }
    case .rotationInParameters:
      // As transformers 5 writes it.
      checkpoint.config["rope_parameters"] = "{\"rope_type\": \"default\", \"rope_theta\": 5000.0}"
      holds = { $0.decoder.ropeTheta == 5000 }
    case .cubicViews:
      checkpoint.config["image_size"] = "8"
      for name in checkpoint.tensors.map(\.name) where name.hasSuffix("position_embeddings") {
        reshape(name, [1, 16, 64])
      }
      holds = { $0.views.extent == ModelDescription.Extent(8, 8, 8) }
    }
    try converted(checkpoint) { file, _ in
      let model = file.description
      #expect(holds(model))
    }
  }

  @Test func llamaIsStackedIntoFusedMatrices() throws {
    let checkpoint = TestCheckpoint(.llama, sharedTower: true, qkvBias: true)
    try converted(checkpoint) { file, _ in
      #expect(file.description.vision.sharedTower && file.description.vision.qkvBias)
      #expect(!file.contains(TensorName.patchWeight(.ct)))
      // Llama has no sliding window, whatever its settings say.
      #expect(file.description.decoder.slidingWindow == 0)
      let layer = "model.layers.1."
      let qkv = ["q", "k", "v"].flatMap { checkpoint.values(layer + "self_attn.\($0)_proj.weight") }
      let stackedQKV = try rows(file.matrix(TensorName.qkv(1), rows: 32, columns: 16))
      #expect(stackedQKV == qkv)
      let gateUp = ["gate", "up"].flatMap { checkpoint.values(layer + "mlp.\($0)_proj.weight") }
      let stackedGateUp = try rows(file.matrix(TensorName.gateUp(1), rows: 40, columns: 16))
      #expect(stackedGateUp == gateUp)
    }
  }

  @Test func tiedEmbeddingsHaveNoHead() throws {
    var checkpoint = TestCheckpoint(.llama)
    checkpoint.config["tie_word_embeddings"] = "true"
    try converted(checkpoint) { file, report in
      #expect(file.description.decoder.tiedEmbeddings)
      #expect(!file.contains(TensorName.head))
      #expect(report.ignored == ["lm_head.weight"])
    }
  }

  @Test func aLinearProjector() throws {
    var checkpoint = TestCheckpoint(.phi3)
    checkpoint.config["proj_layer_type"] = "\"linear\""
    for part in ["weight", "bias"] {
      checkpoint.change("model.mm_projector.projector.2.\(part)") {
        $0.name = "model.mm_projector.projector.1.\(part)"
      }
    }
    try converted(checkpoint) { file, _ in
      #expect(file.description.projector.kind == .linear)
      let source = checkpoint.values("model.mm_projector.projector.1.weight")
      let values = try rows(file.matrix(TensorName.projectorWeight(1), rows: 16, columns: 16))
      #expect(values == source)
    }
  }

  /// The values are exact in all three types, so the tensors must be the same to the last bit; the source hash differs.
  @Test(arguments: [("F16", 1), ("BF16", 1), ("F32", 3), ("BF16", 2)])
  func storageTypesAndShardsGiveTheSameTensors(dtype: String, shards: Int) throws {
    var checkpoint = TestCheckpoint(.llama)
    for weights in [Encoding.f32, .q8] {
      try converted(checkpoint, weights: weights) { reference, _ in
        var other = checkpoint
        other.dtype = dtype
        other.shards = shards
        try converted(other, weights: weights) { file, _ in
          #expect(file.entries == reference.entries)
          #expect(file.tokenizerBytes == reference.tokenizerBytes)
          #expect(file.description.provenance.sourceHash != reference.description.provenance.sourceHash)
          var description = file.description
          description.provenance.sourceHash = reference.description.provenance.sourceHash
          #expect(description == reference.description)
        }
      }
      checkpoint = TestCheckpoint(.phi3)
    }
  }

  @Test func theSameBytesWhateverTheThreads() throws {
    try withTemporaryFolder { folder in
      try TestCheckpoint(.phi3).write(to: "\(folder)/tiny")
      let files = try [1, 2, 3, 7].map { threads in
        try convert(
          checkpoint: "\(folder)/tiny", output: "\(folder)/\(threads).petar", weights: .q8, threads: threads)
        return try Data(contentsOf: URL(fileURLWithPath: "\(folder)/\(threads).petar"))
      }
      #expect(Set(files).count == 1)
    }
  }

  @Test func q4IsForTheLayersOfTheDecoder() throws {
    try converted(TestCheckpoint(.phi3), weights: .q4) { file, report in
      #expect(file.weightsType == "q4")
      var encodings: [String: Encoding] = [:]
      for entry in file.entries {
        if case .matrix(let layout) = entry.form { encodings[entry.name] = layout.encoding }
      }
      for layer in 0..<2 {
        for name in [
          TensorName.qkv(layer), TensorName.attentionOut(layer), TensorName.gateUp(layer), TensorName.down(layer),
        ] {
          #expect(encodings.removeValue(forKey: name) == .q4)
        }
      }
      #expect(encodings.count > 5 && encodings.values.allSatisfy { $0 == .q8 })
      #expect(file.weightsByEncoding.map(\.encoding) == [.q8, .q4])
      #expect(report.worst.map { $0.error < 0.08 } == true)
    }
  }

  @Test func halfPrecisionEdgeCases() throws {
    // The largest, the smallest normal, subnormal ones, both zeros.
    let halves: [UInt16] = [0x7bff, 0xfbff, 0x0400, 0x03ff, 0x0001, 0x8001, 0x0000, 0x8000, 0x3555]
    var checkpoint = TestCheckpoint(.phi3)
    checkpoint.dtype = "F16"
    checkpoint.change("model.norm.weight") { tensor in
      for (index, half) in halves.enumerated() { tensor.values[index] = Float(Float16(bitPattern: half)) }
    }
    try converted(checkpoint) { file, _ in
      let values = try file.vector(TensorName.finalNorm, count: 16).elements.prefix(halves.count)
      #expect(values.map(\.bitPattern) == halves.map { Float(Float16(bitPattern: $0)).bitPattern })
    }
  }

  @Test func theReportNamesTheWorst() throws {
    var checkpoint = TestCheckpoint(.phi3)
    // One weight a thousand times the others' size: the group loses nearly everything else.
    checkpoint.change("model.layers.1.mlp.down_proj.weight") { tensor in
      tensor.values = tensor.values.map { $0 == 0 ? 0.01 : $0 / 100 }
      for row in 0..<16 { tensor.values[row * 20] = 1 }
    }
    try converted(checkpoint, weights: .q8) { file, report in
      #expect(report.worst?.name == TensorName.down(1))
      #expect(report.hash == file.hash)
      #expect(report.kinds.map(\.name).contains("decoder down"))
      let others = report.kinds.filter { $0.name != "decoder down" }
      // Step / sqrt(12) over RMS. Uniform values: (1 / 127) / sqrt(12) * sqrt(3) = 0.0039, narrow groups less. Rotated
      // ones are normal, and the largest of 16 to 128 lies at 1.8 to 2.7 standard deviations: 0.0041 to 0.0062.
      for kind in others { #expect((0.002...0.007).contains(kind.greatest), "\(kind.name) \(kind.greatest)") }
    }
  }

  @Test func theSourceHashIsSha256sumOfSha256sum() throws {
    try withTemporaryFolder { folder in
      try TestCheckpoint(.phi3).write(to: "\(folder)/tiny")
      try Data("Ask nicely.\n".utf8).write(to: URL(fileURLWithPath: "\(folder)/tiny/LICENSE"))
      try convert(checkpoint: "\(folder)/tiny", output: "\(folder)/tiny.petar", weights: .f16, name: "Tiny")
      let file = try PetarFile.open(path: "\(folder)/tiny.petar", verify: false)
      let names = [
        "added_tokens.json", "config.json", "generation_config.json", "model.safetensors", "special_tokens_map.json",
        "tokenizer.model", "tokenizer_config.json",
      ]
      let lines = try names.map { name in
        let content = [UInt8](try Data(contentsOf: URL(fileURLWithPath: "\(folder)/tiny/\(name)")))
        return "\(hexadecimal(SHA256.digest(content)))  \(name)\n"
      }
      #expect(file.description.provenance.sourceHash == hexadecimal(SHA256.digest(Array(lines.joined().utf8))))
      #expect(file.description.provenance.licence == "Ask nicely.\n")
      #expect(file.description.name == "Tiny")
    }
  }

  @Test func anInterruptedConversionLeavesNothing() throws {
    struct Stop: Error {}
    try withTemporaryFolder { folder in
      try TestCheckpoint(.phi3).write(to: "\(folder)/tiny")
      // Early, in the middle, and when everything is written but has no name yet.
      for fraction in [0.0, 0.5, 1.0] {
        #expect(throws: Stop.self) {
          try convert(checkpoint: "\(folder)/tiny", output: "\(folder)/tiny.petar", weights: .q8) { done, total in
            if Double(done) >= fraction * Double(total) { throw Stop() }
          }
        }
        #expect(try FileManager.default.contentsOfDirectory(atPath: folder) == ["tiny"])
      }
    }
  }
}
