import CPetar
import Petar

/// What config.json and generation_config.json say, with everything that cannot be computed refused by its name.
package struct CheckpointSettings {
  /// Filled as far as the settings go; vision width, depth and MLP come from the tensors.
  package var description = ModelDescription()
  /// Sentences, one for each setting that is missing or cannot be converted.
  package var problems: [String] = []

  private let config: [String: JSONValue]

  package init(config: [String: JSONValue], generation: [String: JSONValue], fused: Bool) {
    self.config = config
    readVision()
    readProjector()
    readDecoder(fused: fused)
    readGeneration(generation)
    description.provenance.randomWeights = value("petar_random_weights")?.flag ?? false
  }

  // ---- Vision -----------------------------------------------------------------------------------------------------

  private mutating func readVision() {
    description.views.extent = extent("image_size")
    description.vision.patch = extent("patch_size")
    description.vision.pool = extent("proj_pooling_size")
    if let channels = value("image_channel"), channels.integer != 1 {
      problems.append("image_channel is \(channels.written): only one channel is supported")
    }
    if let layer = value("vision_select_layer"), layer.integer != -1 {
      problems.append("vision_select_layer is \(layer.written): only the last layer, -1, is supported")
    }
    if let feature = value("vision_select_feature"), feature.text != "patch" {
      problems.append("vision_select_feature is \(feature.written): only \"patch\" is supported")
    }
  }

  private mutating func readProjector() {
    if let kind = value("mm_projector_type"), kind.text != "spp" {
      problems.append("mm_projector_type is \(kind.written): only \"spp\" (spatial pooling) is supported")
    }
    if let pooling = value("proj_pooling_type"), pooling.text != "spatial" {
      problems.append("proj_pooling_type is \(pooling.written): only \"spatial\" is supported")
    }
    switch value("proj_layer_type")?.text {
    case "mlp": description.projector.kind = .mlp
    case "linear": description.projector.kind = .linear
    default: problems.append("proj_layer_type is missing or neither \"mlp\" nor \"linear\"")
    }
    description.projector.layers = size("proj_layer_num", in: 1...16)
  }

  // ---- Decoder ----------------------------------------------------------------------------------------------------

  /// - Parameter fused: Phi-3 stores q, k and v as one tensor; Llama does not.
  private mutating func readDecoder(fused: Bool) {
    var decoder = description.decoder
    decoder.family = value("model_type")?.text ?? (fused ? "phi3" : "llama")
    decoder.vocabulary = size("vocab_size", in: 1...1 << 22)
    decoder.width = size("hidden_size", in: 1...1 << 16)
    decoder.layers = size("num_hidden_layers", in: 1...1024)
    decoder.heads = size("num_attention_heads", in: 1...1024)
    decoder.ffnWidth = size("intermediate_size", in: 1...1 << 18)
    decoder.context = size("max_position_embeddings", in: 1...1 << 22)
    decoder.keyValueHeads =
      value("num_key_value_heads") == nil ? decoder.heads : size("num_key_value_heads", in: 1...1024)
    decoder.headWidth =
      value("head_dim") == nil ? decoder.width / max(decoder.heads, 1) : size("head_dim", in: 2...1024)
    decoder.tiedEmbeddings = value("tie_word_embeddings")?.flag ?? false
    // The defaults are those of the two families' own configuration classes.
    decoder.normEpsilon = Float(value("rms_norm_eps")?.number ?? (fused ? 1e-5 : 1e-6))
    decoder.slidingWindow = fused && value("sliding_window") != nil ? size("sliding_window", in: 0...1 << 24) : 0
    readRotation(&decoder)
    if let activation = value("hidden_act"), activation.text != "silu" {
      problems.append("hidden_act is \(activation.written): only \"silu\" is supported")
    }
    for key in ["attention_bias", "mlp_bias"] where value(key)?.flag == true {
      problems.append("\(key) is true: decoder layers with a bias are not supported")
    }
    description.decoder = decoder
  }

  /// Older checkpoints keep rope_theta at the top, newer ones (transformers 5) in rope_parameters.
  private mutating func readRotation(_ decoder: inout ModelDescription.Decoder) {
    let parameters = value("rope_parameters")
    decoder.ropeTheta = parameters?["rope_theta"]?.number ?? value("rope_theta")?.number ?? 10000
    for key in ["rope_scaling", "rope_parameters"] {
      guard let scaling = value(key) else { continue }
      let type = scaling["rope_type"]?.text ?? scaling["type"]?.text ?? "default"
      if type != "default" {
        problems.append("\(key) is of type \"\(type)\": scaled rotary positions are not supported")
      }
    }
    let factor = parameters?["partial_rotary_factor"] ?? value("partial_rotary_factor")
    if let factor, factor.number != 1 {
      problems.append("partial_rotary_factor is \(factor.written): only 1 is supported")
    }
  }

  // ---- Generation -------------------------------------------------------------------------------------------------

  /// PETAR's paper: at most 256 new tokens, and this question.
  private mutating func readGeneration(_ generation: [String: JSONValue]) {
    description.prompt.question = "Please describe the region highlighted in the PET image."
    let longest = max(description.decoder.context, 1)
    description.prompt.maxTokens = min(max(generation["max_new_tokens"]?.integer ?? 256, 1), longest)
    let end = [generation["eos_token_id"], value("eos_token_id")].compactMap { $0 }.first { !$0.isNull }
    for id in end?.elements ?? end.map({ [$0] }) ?? [] {
      if let id = id.integer.flatMap({ Int32(exactly: $0) }), id >= 0 {
        description.prompt.endOfText.append(id)
      } else {
        problems.append("eos_token_id holds \(id.written), which is no token id")
      }
    }
    if description.prompt.endOfText.isEmpty {
      problems.append("eos_token_id is in neither generation_config.json nor config.json")
    }
  }

  // ---- Values -----------------------------------------------------------------------------------------------------

  /// nil for a key that is absent or null.
  private func value(_ key: String) -> JSONValue? { config[key].flatMap { $0.isNull ? nil : $0 } }

  private mutating func size(_ key: String, in range: ClosedRange<Int>) -> Int {
    guard let found = value(key) else {
      problems.append("\(key) is missing")
      return 0
    }
    guard let size = found.integer, range.contains(size) else {
      problems.append("\(key) is \(found.written), not a whole number in \(range.lowerBound)...\(range.upperBound)")
      return 0
    }
    return size
  }

  /// Three sides, z first, or one for all three.
  private mutating func extent(_ key: String) -> ModelDescription.Extent {
    guard let found = value(key) else {
      problems.append("\(key) is missing")
      return ModelDescription.Extent(0, 0, 0)
    }
    let sides = found.elements?.map(\.integer) ?? [found.integer, found.integer, found.integer]
    let valid = sides.compactMap { $0 }.filter { (1...4096).contains($0) }
    guard sides.count == 3, valid.count == 3 else {
      problems.append("\(key) is \(found.written), not three whole numbers in 1...4096")
      return ModelDescription.Extent(0, 0, 0)
    }
    return ModelDescription.Extent(valid[0], valid[1], valid[2])
  }
}
