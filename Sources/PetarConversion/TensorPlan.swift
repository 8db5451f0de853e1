import Petar

/// A tensor of the .petar file and the checkpoint tensors it is made of.
package struct TensorPlan: Sendable {
  /// One checkpoint tensor; the parts of a matrix are stacked along its rows.
  package struct Part: Sendable {
    package let name: String
    /// As upstream stores it; 0 for a side that nothing tells, which fits anything.
    package let shape: [Int]

    package init(name: String, shape: [Int]) {
      self.name = name
      self.shape = shape
    }
  }

  package let name: String
  package let kind: TensorKind
  package let parts: [Part]
}

/// The groups in which quantization errors are reported.
package enum TensorKind: String, Sendable, CaseIterable {
  case visionPatch = "vision patch embedding"
  case visionQKV = "vision qkv"
  case visionOut = "vision attention out"
  case visionMLP = "vision MLP"
  case projector = "projector"
  case embedding = "decoder embedding"
  case decoderQKV = "decoder qkv"
  case decoderOut = "decoder attention out"
  case gateUp = "decoder gate and up"
  case down = "decoder down"
  case head = "decoder head"
  /// Norms, biases, positions, class token: kept as f32.
  case vector = "norms, biases, positions"

  /// How a matrix is stored in a file of `weights`. q4 is for the layers of the decoder, which a token waits for; the
  /// rest is a tenth of the bytes, and q8 costs it no accuracy: towers and projector, where arithmetic and not memory
  /// takes the time, the embedding, of which a token reads one row, and the head, which chooses the words.
  func encoding(for weights: Encoding) -> Encoding {
    switch (weights, self) {
    case (.q4, .decoderQKV), (.q4, .decoderOut), (.q4, .gateUp), (.q4, .down): .q4
    case (.q4, _): .q8
    default: weights
    }
  }
}

/// Every tensor of a model in the order in which it lies in the .petar file.
package struct TensorPlanner {
  let description: ModelDescription
  /// Phi-3 layout: qkv_proj and gate_up_proj.
  let fused: Bool
  private var plans: [TensorPlan] = []

  package static func plans(for description: ModelDescription, fused: Bool) -> [TensorPlan] {
    var planner = TensorPlanner(description: description, fused: fused)
    planner.addTower(.pet, prefix: visionPrefix)
    planner.addMask()
    if !description.vision.sharedTower { planner.addTower(.ct, prefix: ctPrefix) }
    planner.addProjector()
    planner.addDecoder()
    return planner.plans
  }

  package static let visionPrefix = "model.vision_tower.vision_tower."
  package static let ctPrefix = "model.vision_tower.ct_tower."
  static let projectorPrefix = "model.mm_projector.projector."
  static let layerPrefix = "model.layers."

  private init(description: ModelDescription, fused: Bool) {
    self.description = description
    self.fused = fused
  }

  private mutating func matrix(_ name: String, _ kind: TensorKind, _ source: String, _ rows: Int, _ columns: Int) {
    matrix(name, kind, [TensorPlan.Part(name: source, shape: [rows, columns])])
  }

  private mutating func matrix(_ name: String, _ kind: TensorKind, _ parts: [TensorPlan.Part]) {
    plans.append(TensorPlan(name: name, kind: kind, parts: parts))
  }

  private mutating func vector(_ name: String, _ source: String, _ shape: [Int]) {
    plans.append(TensorPlan(name: name, kind: .vector, parts: [TensorPlan.Part(name: source, shape: shape)]))
  }

  // ---- Vision -----------------------------------------------------------------------------------------------------

  private var tokens: Int {
    let (view, patch) = (description.views.extent, description.vision.patch)
    return view.depth / max(patch.depth, 1) * (view.height / max(patch.height, 1)) * (view.width / max(patch.width, 1))
  }

  private mutating func addTower(_ tower: TensorName.Tower, prefix: String) {
    let vision = description.vision
    let width = vision.width
    let patch = prefix + "patch_embedding."
    matrix(
      TensorName.patchWeight(tower), .visionPatch, patch + "patch_embeddings.1.weight", width, vision.patch.count)
    vector(TensorName.patchBias(tower), patch + "patch_embeddings.1.bias", [width])
    vector(TensorName.position(tower), patch + "position_embeddings", [1, tokens, width])
    if tower == .pet { vector(TensorName.classToken, prefix + "cls_token", [1, 1, width]) }
    for layer in 0..<vision.layers {
      let block = prefix + "blocks.\(layer)."
      vector(TensorName.norm1Weight(tower, layer), block + "norm1.weight", [width])
      vector(TensorName.norm1Bias(tower, layer), block + "norm1.bias", [width])
      matrix(TensorName.visionQKV(tower, layer), .visionQKV, block + "attn.qkv.weight", 3 * width, width)
      if vision.qkvBias { vector(TensorName.visionQKVBias(tower, layer), block + "attn.qkv.bias", [3 * width]) }
      matrix(TensorName.visionOut(tower, layer), .visionOut, block + "attn.out_proj.weight", width, width)
      vector(TensorName.visionOutBias(tower, layer), block + "attn.out_proj.bias", [width])
      vector(TensorName.norm2Weight(tower, layer), block + "norm2.weight", [width])
      vector(TensorName.norm2Bias(tower, layer), block + "norm2.bias", [width])
      matrix(TensorName.mlpIn(tower, layer), .visionMLP, block + "mlp.linear1.weight", vision.mlpWidth, width)
      vector(TensorName.mlpInBias(tower, layer), block + "mlp.linear1.bias", [vision.mlpWidth])
      matrix(TensorName.mlpOut(tower, layer), .visionMLP, block + "mlp.linear2.weight", width, vision.mlpWidth)
      vector(TensorName.mlpOutBias(tower, layer), block + "mlp.linear2.bias", [width])
    }
    vector(TensorName.visionNormWeight(tower), prefix + "norm.weight", [width])
    vector(TensorName.visionNormBias(tower), prefix + "norm.bias", [width])
  }

  private mutating func addMask() {
    let vision = description.vision
    let patch = Self.visionPrefix + "patch_embedding_mask."
    matrix(
      TensorName.maskPatchWeight, .visionPatch, patch + "patch_embeddings.1.weight", vision.width, vision.patch.count)
    vector(TensorName.maskPatchBias, patch + "patch_embeddings.1.bias", [vision.width])
    vector(TensorName.maskPosition, patch + "position_embeddings", [1, tokens, vision.width])
  }

  /// PET and CT features side by side go in; an MLP has a GELU at every odd place of the sequence.
  private mutating func addProjector() {
    let width = description.decoder.width
    for layer in 0..<description.projector.layers {
      let place = description.projector.kind == .mlp ? 2 * layer : layer
      let inputs = layer == 0 ? 2 * description.vision.width : width
      let source = Self.projectorPrefix + "\(place)."
      matrix(TensorName.projectorWeight(layer), .projector, source + "weight", width, inputs)
      vector(TensorName.projectorBias(layer), source + "bias", [width])
    }
  }

  // ---- Decoder ----------------------------------------------------------------------------------------------------

  private mutating func addDecoder() {
    let decoder = description.decoder
    let width = decoder.width
    matrix(TensorName.embedding, .embedding, "model.embed_tokens.weight", decoder.vocabulary, width)
    for layer in 0..<decoder.layers {
      let block = Self.layerPrefix + "\(layer)."
      vector(TensorName.attentionNorm(layer), block + "input_layernorm.weight", [width])
      matrix(TensorName.qkv(layer), .decoderQKV, qkvParts(block + "self_attn."))
      matrix(
        TensorName.attentionOut(layer), .decoderOut, block + "self_attn.o_proj.weight", width,
        decoder.heads * decoder.headWidth)
      vector(TensorName.ffnNorm(layer), block + "post_attention_layernorm.weight", [width])
      matrix(TensorName.gateUp(layer), .gateUp, gateUpParts(block + "mlp."))
      matrix(TensorName.down(layer), .down, block + "mlp.down_proj.weight", width, decoder.ffnWidth)
    }
    vector(TensorName.finalNorm, "model.norm.weight", [width])
    if !decoder.tiedEmbeddings {
      matrix(TensorName.head, .head, "lm_head.weight", decoder.vocabulary, width)
    }
  }

  private func qkvParts(_ prefix: String) -> [TensorPlan.Part] {
    let decoder = description.decoder
    let queryRows = decoder.heads * decoder.headWidth
    let keyRows = decoder.keyValueHeads * decoder.headWidth
    guard !fused else {
      return [TensorPlan.Part(name: prefix + "qkv_proj.weight", shape: [queryRows + 2 * keyRows, decoder.width])]
    }
    return [("q", queryRows), ("k", keyRows), ("v", keyRows)].map { letter, rows in
      TensorPlan.Part(name: prefix + "\(letter)_proj.weight", shape: [rows, decoder.width])
    }
  }

  private func gateUpParts(_ prefix: String) -> [TensorPlan.Part] {
    let decoder = description.decoder
    guard !fused else {
      return [TensorPlan.Part(name: prefix + "gate_up_proj.weight", shape: [2 * decoder.ffnWidth, decoder.width])]
    }
    return ["gate", "up"].map { name in
      TensorPlan.Part(name: prefix + "\(name)_proj.weight", shape: [decoder.ffnWidth, decoder.width])
    }
  }
}
