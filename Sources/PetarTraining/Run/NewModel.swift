import CPetar
import Foundation
import Petar
import PetarConversion

/// A checkpoint that starts from nothing: settings from a recipe, a tokenizer trained on the data set's own texts, random
/// weights.
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

  /// What a checkpoint's shapes tell and its config.json does not.
  private static let shapes = ["vision_width", "vision_layers", "vision_mlp", "shared_tower"]

  private static let fixed: [(name: String, value: JSONValue)] = [
    ("model_type", .string("lamed_phi3")), ("sliding_window", .number(2047)), ("image_channel", .number(1)),
    ("vision_select_layer", .number(-1)),
    ("vision_select_feature", .string("patch")), ("mm_projector_type", .string("spp")),
    ("proj_pooling_type", .string("spatial")), ("proj_layer_type", .string("mlp")), ("proj_layer_num", .number(2)),
    ("hidden_act", .string("silu")), ("rms_norm_eps", .number(1e-5)), ("rope_theta", .number(10000)),
    ("tie_word_embeddings", .bool(false)), ("torch_dtype", .string("float32")),
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
    let tokens = try SentencePieceTraining(vocabulary: vocabulary).run(texts, into: parts)

    var config = settings.filter { !Self.shapes.contains($0.name) }
    if let heads = config.first(where: { $0.name == "num_attention_heads" }) {
      config += [("num_key_value_heads", heads.value)].filter { pair in !config.contains { $0.name == pair.0 } }
    }
    config += Self.fixed.filter { fixed in !config.contains { $0.name == fixed.name } }
    config += [
      ("vocab_size", .number(Double(tokens.count))), ("bos_token_id", .number(1)),
      ("eos_token_id", .number(Double(tokens.endOfText))), ("pad_token_id", .number(Double(tokens.endOfText))),
    ]
    let generation: [(name: String, value: JSONValue)] = [
      ("bos_token_id", .number(1)), ("eos_token_id", .number(Double(tokens.endOfText))),
      ("max_new_tokens", .number(128)),
    ]
    for (name, members) in [("config.json", config), ("generation_config.json", generation)] {
      try writeFile(Array((JSONValue.object(members).json.text + "\n").utf8), path: "\(parts)/\(name)")
    }
    let model = try description(config, generation, imageToken: tokens.image)
    let parameters = try Parameters(model, plans: TensorPlanner.plans(for: model, fused: true))
    parameters.initialize(seed: seed)
    try parameters.write(checkpoint: folder, settingsFrom: parts)
  }

  private func description(
    _ config: [(name: String, value: JSONValue)], _ generation: [(name: String, value: JSONValue)], imageToken: Int32
  ) throws -> ModelDescription {
    func dictionary(_ members: [(name: String, value: JSONValue)]) -> [String: JSONValue] {
      Dictionary(members.map { ($0.name, $0.value) }) { first, _ in first }
    }
    let read = CheckpointSettings(config: dictionary(config), generation: dictionary(generation), fused: true)
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
    model.vision.width = size("vision_width")
    model.vision.layers = size("vision_layers")
    model.vision.mlpWidth = size("vision_mlp")
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
