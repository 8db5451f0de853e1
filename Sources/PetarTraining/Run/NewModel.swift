import CPetar
import Foundation
import Petar
import PetarConversion

/// A checkpoint that starts from nothing, or from a decoder and towers that were trained apart: settings from a recipe;
/// the decoder's tokenizer, or one trained on the data set's own texts; random weights for what has none.
package struct NewModel {
  /// config.json as the recipe gives it; what is fixed by the architecture is added.
  package let settings: [(name: String, value: JSONValue)]
  /// Tokens at most; fewer if the texts do not hold so many.
  package let vocabulary: Int
  package let seed: UInt64

  package init(settings: [(name: String, value: JSONValue)], vocabulary: Int, seed: UInt64) {
    self.settings = settings
    self.vocabulary = vocabulary
    self.seed = seed
  }

  /// What the checkpoint's shapes will tell, and the parts to start from: not for its config.json.
  private static let apart = ["vision_width", "vision_layers", "vision_mlp", "shared_tower", "decoder", "towers"]

  /// What a recipe may say of a model.
  static let settingNames =
    [
      "image_size", "patch_size", "proj_pooling_size", "proj_layer_type", "proj_layer_num", "hidden_size",
      "num_hidden_layers", "num_attention_heads", "num_key_value_heads", "intermediate_size",
      "max_position_embeddings", "sliding_window", "rms_norm_eps", "rope_theta", "tie_word_embeddings",
    ] + apart

  /// Of every model.
  private static let fixed: [(name: String, value: JSONValue)] = [
    ("image_channel", .number(1)), ("vision_select_layer", .number(-1)), ("vision_select_feature", .string("patch")),
    ("mm_projector_type", .string("spp")), ("proj_pooling_type", .string("spatial")),
    ("proj_layer_type", .string("mlp")), ("proj_layer_num", .number(2)), ("torch_dtype", .string("float32")),
  ]

  /// Of a new decoder, which is Phi-3's.
  private static let phi3: [(name: String, value: JSONValue)] = [
    ("model_type", .string("lamed_phi3")), ("sliding_window", .number(2047)), ("hidden_act", .string("silu")),
    ("rms_norm_eps", .number(1e-5)), ("rope_theta", .number(10000)), ("tie_word_embeddings", .bool(false)),
    ("bos_token_id", .number(1)),
  ]

  /// - Parameter texts: what the tokenizer is trained on.
  /// - Throws: `PETAR_ERROR_BAD_FILE` for settings that make no model, `PETAR_ERROR_IO`, and what
  ///   `SentencePieceTraining` throws.
  package func write(to folder: String, texts: [String]) throws {
    let files = FileManager.default
    let parts = folder + ".settings"
    try? files.removeItem(atPath: parts)
    defer { try? files.removeItem(atPath: parts) }
    do {
      try files.createDirectory(atPath: parts, withIntermediateDirectories: true)
    } catch {
      throw PetarError(PETAR_ERROR_IO, "cannot write \(parts): \(error.localizedDescription)")
    }
    let decoder = try part("decoder").map(PretrainedDecoder.init)
    let towers = try part("towers").map(PretrainedTowers.init)
    var config = settings.filter { !Self.apart.contains($0.name) }
    var generation = decoder?.generation ?? []
    let image: Int32
    if let decoder {
      let tokens = try decoder.writeTokenizer(to: parts)
      image = tokens.image
      config.complete(with: [("vocab_size", .number(Double(tokens.vocabulary)))] + decoder.config)
    } else {
      let tokens = try SentencePieceTraining(vocabulary: vocabulary).run(texts, into: parts)
      image = tokens.image
      let end = JSONValue.number(Double(tokens.endOfText))
      generation = [("bos_token_id", .number(1)), ("eos_token_id", end), ("max_new_tokens", .number(128))]
      config.complete(with: Self.phi3)
      config.complete(with: [
        ("vocab_size", .number(Double(tokens.count))), ("eos_token_id", end), ("pad_token_id", end),
      ])
    }
    if let heads = config.first(where: { $0.name == "num_attention_heads" }) {
      config.complete(with: [("num_key_value_heads", heads.value)])
    }
    config.complete(with: Self.fixed)
    for (name, members) in [("config.json", config), ("generation_config.json", generation)] {
      try writeFile(Array((JSONValue.object(members).json.text + "\n").utf8), path: "\(parts)/\(name)")
    }
    let fused = decoder?.isFused ?? true
    let model = try description(config, generation, fused: fused, towers, imageToken: image)
    let parameters = try Parameters(model, plans: TensorPlanner.plans(for: model, fused: fused))
    parameters.initialize(seed: seed)
    try decoder?.fill(parameters)
    try towers?.fill(parameters)
    try parameters.write(checkpoint: folder, settingsFrom: parts)
  }

  /// The folder of a part that is trained already; nil if the recipe names none.
  private func part(_ name: String) throws -> String? {
    guard let value = settings.first(where: { $0.name == name })?.value else { return nil }
    guard let path = value.text else {
      throw PetarError(
        PETAR_ERROR_BAD_FILE, "the recipe's \"model\": \"\(name)\" is \(value.written), not the path of a folder")
    }
    return path
  }

  private func description(
    _ config: [(name: String, value: JSONValue)], _ generation: [(name: String, value: JSONValue)], fused: Bool,
    _ towers: PretrainedTowers?, imageToken: Int32
  ) throws -> ModelDescription {
    func dictionary(_ members: [(name: String, value: JSONValue)]) -> [String: JSONValue] {
      Dictionary(members.map { ($0.name, $0.value) }) { first, _ in first }
    }
    let read = CheckpointSettings(config: dictionary(config), generation: dictionary(generation), fused: fused)
    var problems = read.problems
    var model = read.description
    let given = dictionary(settings)
    func size(_ name: String) -> Int {
      guard let size = given[name]?.integer, (1...1 << 16).contains(size) else {
        problems.append("\(name) is \(given[name]?.written ?? "missing"), not a whole number of 1 or more")
        return 64
      }
      return size
    }
    model.vision.width = towers?.width ?? size("vision_width")
    model.vision.layers = towers?.layers ?? size("vision_layers")
    model.vision.mlpWidth = towers?.mlpWidth ?? size("vision_mlp")
    model.vision.qkvBias = towers?.qkvBias ?? false
    model.vision.sharedTower = given["shared_tower"]?.flag ?? false
    model.prompt.imageToken = imageToken
    guard problems.isEmpty else {
      throw PetarError(
        PETAR_ERROR_BAD_FILE, "the recipe's \"model\" is no model\n  " + problems.joined(separator: "\n  "))
    }
    try model.validate(source: "the recipe's \"model\"")
    return model
  }
}

extension [(name: String, value: JSONValue)] {
  /// Adds the members whose names are not there yet.
  fileprivate mutating func complete(with others: Self) {
    for other in others where !contains(where: { $0.name == other.name }) { append(other) }
  }
}
