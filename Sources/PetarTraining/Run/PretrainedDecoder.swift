import CPetar
import Foundation
import Petar
import PetarConversion

/// A decoder to start from: a Hugging Face folder of Phi-3 or Llama, or of a whole model of PETAR or M3D.
struct PretrainedDecoder {
  private let folder: PretrainedFolder

  private static let embedding = "model.embed_tokens.weight"
  /// What names classes or files that do not go with the new model, or is decided anew.
  private static let ownSettings: Set = [
    "architectures", "auto_map", "_name_or_path", "transformers_version", "torch_dtype", "dtype", "vocab_size",
  ]

  /// - Throws: what `PretrainedFolder` throws; `PETAR_ERROR_BAD_FILE` when there is no decoder in the folder.
  init(path: String) throws {
    folder = try PretrainedFolder(path: path)
    guard folder.tensors.shape(of: Self.embedding)?.count == 2 else {
      throw PetarError(
        PETAR_ERROR_BAD_FILE, "\(path): there is no \(Self.embedding); give the folder of a Phi-3 or Llama model")
    }
  }

  /// Whether q, k and v are one tensor, as Phi-3 has them.
  var isFused: Bool { folder.tensors.shape(of: "model.layers.0.self_attn.qkv_proj.weight") != nil }

  /// Tokens that have a row in its embedding.
  private var rows: Int { folder.tensors.shape(of: Self.embedding)?.first ?? 0 }

  /// Its settings, in the order of their names, for config.json of the new model.
  var config: [(name: String, value: JSONValue)] {
    folder.config.filter { !Self.ownSettings.contains($0.key) && !$0.value.isNull }.sorted { $0.key < $1.key }.map {
      name, value in
      guard name == "model_type", let family = value.text, !family.hasPrefix("lamed_") else { return (name, value) }
      return (name, .string("lamed_" + family))
    }
  }

  var generation: [(name: String, value: JSONValue)] {
    folder.generation.sorted { $0.key < $1.key }.map { ($0.key, $0.value) }
  }

  // ---- Tokenizer --------------------------------------------------------------------------------------------------

  /// Copies the tokenizer into a folder, with a token for images if it has none.
  /// - Returns: the vocabulary, at least the rows of its embedding, and the token for images.
  /// - Throws: what `readTokenizer` throws; `PETAR_ERROR_UNSUPPORTED` when a token cannot be added.
  func writeTokenizer(to target: String) throws -> (vocabulary: Int, image: Int32) {
    let definition = try readTokenizer(folder: folder.path)
    var names = ["tokenizer.model", "tokenizer_config.json", "special_tokens_map.json", "added_tokens.json"]
    if let image = try Tokenizer(definition, source: folder.path).id(of: imageTokenText) {
      try copy(names + ["tokenizer.json"], to: target)
      return (max(rows, definition.count), image)
    }
    guard exists("tokenizer.model") else {
      throw PetarError(
        PETAR_ERROR_UNSUPPORTED,
        "\(folder.path): the tokenizer has no token \(imageTokenText), and one can only be added to a tokenizer.model; "
          + "copy it from the model's source")
    }
    let image = Int32(definition.count)
    // The list of tokenizer_config.json counts where there is one, else that of added_tokens.json.
    var config = try members("tokenizer_config.json")
    config.update("additional_special_tokens") { .array(($0?.elements ?? []) + [.string(imageTokenText)]) }
    if config.contains(where: { $0.name == "added_tokens_decoder" }) {
      let token = SentencePieceTraining.flags.map { ($0, JSONValue.bool($1)) } + [("content", .string(imageTokenText))]
      config.update("added_tokens_decoder") { .object(($0?.members ?? []) + [("\(image)", .object(token))]) }
    }
    var added = try members("added_tokens.json")
    added.update(imageTokenText) { _ in .number(Double(image)) }
    try write(config, to: "\(target)/tokenizer_config.json")
    try write(added, to: "\(target)/added_tokens.json")
    names.removeAll { $0 == "tokenizer_config.json" || $0 == "added_tokens.json" }
    try copy(names, to: target)
    return (max(rows, definition.count + 1), image)
  }

  private func exists(_ name: String) -> Bool { FileManager.default.fileExists(atPath: "\(folder.path)/\(name)") }

  private func copy(_ names: [String], to target: String) throws {
    for name in names where exists(name) {
      do {
        try copyFile("\(folder.path)/\(name)", to: "\(target)/\(name)")
      } catch {
        throw PetarError(PETAR_ERROR_IO, "cannot copy \(folder.path)/\(name): \(error.localizedDescription)")
      }
    }
  }

  /// Of a file that is one JSON object; none where there is no file.
  private func members(_ name: String) throws -> [(name: String, value: JSONValue)] {
    let path = "\(folder.path)/\(name)"
    guard let bytes = FileManager.default.contents(atPath: path) else { return [] }
    return try JSONValue(parsing: [UInt8](bytes), source: path).members ?? []
  }

  private func write(_ members: [(name: String, value: JSONValue)], to path: String) throws {
    try writeFile(Array((JSONValue.object(members).json.text + "\n").utf8), path: path)
  }

  // ---- Weights ----------------------------------------------------------------------------------------------------

  /// Copies its weights. Tokens beyond its vocabulary start as the mean of the others, as in M3D.
  /// - Throws: `PETAR_ERROR_BAD_FILE` naming a tensor that is missing, of another shape or not finite.
  func fill(_ parameters: Parameters) throws {
    for tensor in parameters.tensors where tensor.name.hasPrefix("decoder.") {
      guard tensor.name != TensorName.embedding, tensor.name != TensorName.head else {
        try fillTokens(tensor)
        continue
      }
      var place = tensor.values.base
      for part in tensor.parts {
        try folder.tensors.read(part.name, shape: part.shape, into: place)
        place += part.shape.reduce(1, *)
      }
    }
  }

  /// (tokens, width)
  private func fillTokens(_ tensor: Parameters.Tensor) throws {
    guard let name = tensor.parts.first?.name else { return }
    let (width, base) = (tensor.columns, tensor.values.base)
    // No fewer rows than these are asked for (`writeTokenizer`).
    try folder.tensors.read(name, shape: [rows, width], into: base)
    for column in 0..<width where rows < tensor.rows {
      let sum = (0..<rows).reduce(0.0) { $0 + Double(base[$1 * width + column]) }
      for row in rows..<tensor.rows { base[row * width + column] = Float(sum / Double(rows)) }
    }
  }
}

extension [(name: String, value: JSONValue)] {
  /// Changes the value of a member, which is put at the end if it is not there.
  fileprivate mutating func update(_ name: String, _ change: (JSONValue?) -> JSONValue) {
    if let place = firstIndex(where: { $0.name == name }) {
      self[place].value = change(self[place].value)
    } else {
      append((name, change(nil)))
    }
  }
}
