import CPetar
import Petar

private let configName = "tokenizer_config.json"
/// The names of the special tokens, in the order in which transformers adds those it does not know yet.
private let specialNames = ["bos_token", "eos_token", "unk_token", "sep_token", "pad_token", "cls_token", "mask_token"]

/// tokenizer.model and what transformers' slow LlamaTokenizer reads next to it.
///
/// `clean_up_tokenization_spaces` is left aside: it changes decoded text only, and no stream could follow it.
func readSlowTokenizer(_ files: TokenizerFolder) throws -> TokenizerDefinition {
  var definition = try files.bytes("tokenizer.model").withUnsafeBytes {
    try readSentencePiece($0, source: files.path(of: "tokenizer.model"))
  }
  let config = try files.json(configName) ?? .object([])
  if let name = config["tokenizer_class"]?.text,
    !["LlamaTokenizer", "LlamaTokenizerFast", "PreTrainedTokenizerFast"].contains(name)
  {
    throw files.refuse(configName, "tokenizer class \(name) is not supported; PETAR and M3D use LlamaTokenizer")
  }
  if config["add_eos_token"]?.flag == true { throw files.refuse(configName, "add_eos_token = true is not supported") }
  definition.rules = config["legacy"]?.flag == false ? .slow : .slowLegacy
  definition.addBOS = config["add_bos_token"]?.flag ?? true
  // Python takes null for false here.
  definition.addPrefixSpace = config.member("add_prefix_space").map { $0.flag ?? false } ?? true

  var reading = SlowAddedTokens(files: files, config: config)
  try reading.read()
  try reading.addSpecials(to: &definition)
  return definition
}

/// Added and special tokens, gathered the way transformers gathers them.
private struct SlowAddedTokens {
  let files: TokenizerFolder
  let config: TokenizerJSONValue
  private var tokens: [TokenizerDefinition.AddedToken] = []
  private var specials: [String: TokenizerDefinition.AddedToken] = [:]
  private var additional: [TokenizerDefinition.AddedToken] = []

  init(files: TokenizerFolder, config: TokenizerJSONValue) {
    self.files = files
    self.config = config
  }

  mutating func read() throws {
    for (name, text) in [("bos_token", "<s>"), ("eos_token", "</s>"), ("unk_token", "<unk>")] {
      specials[name] = readAddedToken(.string(text), id: -1)
    }
    try readSpecials(config, from: configName)
    if let decoder = config["added_tokens_decoder"]?.members {
      for (key, value) in decoder {
        guard let id = Int32(key), let token = readAddedToken(value, id: id) else {
          throw files.damaged(configName, "added token \"\(key)\" has no number or no text")
        }
        try append(token, from: configName)
      }
      return
    }
    // Before added_tokens_decoder existed.
    if let map = try files.json("special_tokens_map.json") { try readSpecials(map, from: "special_tokens_map.json") }
    for (text, value) in try files.json("added_tokens.json")?.members ?? [] {
      guard let id = value.id, var token = readAddedToken(.string(text), id: id) else {
        throw files.damaged("added_tokens.json", "\"\(text)\" has no number")
      }
      token.normalized = !allSpecials.contains { same($0.text, text) }
      try append(token, from: "added_tokens.json")
    }
    for value in try files.json("tokenizer.json")?["added_tokens"]?.elements ?? [] {
      guard let id = value["id"]?.id, let token = readAddedToken(value, id: id) else {
        throw files.damaged("tokenizer.json", "an added token has no id or no text")
      }
      try append(token, from: "tokenizer.json")
    }
  }

  /// Later files win over earlier ones.
  private mutating func append(_ token: TokenizerDefinition.AddedToken, from file: String) throws {
    guard token.id >= 0, token.id < TokenizerDefinition.maximumCount else {
      throw files.damaged(file, "added token \"\(token.text)\" has the id \(token.id), which is out of range")
    }
    tokens.removeAll { $0.id == token.id }
    tokens.append(token)
  }

  private mutating func readSpecials(_ value: TokenizerJSONValue, from file: String) throws {
    for name in specialNames {
      guard let member = value.member(name) else { continue }
      if case .null = member {
        specials[name] = nil
      } else if let token = readAddedToken(member, id: -1) {
        specials[name] = token
      } else {
        throw files.damaged(file, "\(name) is no token")
      }
    }
    for member in value["additional_special_tokens"]?.elements ?? [] {
      guard let token = readAddedToken(member, id: -1) else {
        throw files.damaged(file, "an additional special token is no token")
      }
      if !additional.contains(where: { same($0.text, token.text) }) { additional.append(token) }
    }
  }

  private var allSpecials: [TokenizerDefinition.AddedToken] { specialNames.compactMap { specials[$0] } + additional }

  /// Special tokens that are not among the added ones take the id of the piece of that name, or the next free ones.
  func addSpecials(to definition: inout TokenizerDefinition) throws {
    var tokens = tokens
    var pieceIDs: [[UInt8]: Int32] = [:]
    for (id, piece) in definition.pieces.enumerated() { pieceIDs[Array(piece.text.utf8)] = Int32(exactly: id) }
    var next = pieceIDs.count + tokens.count { pieceIDs[Array($0.text.utf8)] == nil }
    for special in allSpecials where !tokens.contains(where: { same($0.text, special.text) }) {
      var token = special
      if let id = pieceIDs[Array(special.text.utf8)] {
        token.id = id
      } else {
        token.id = Int32(clamping: next)
        next += 1
      }
      tokens.append(token)
    }
    for i in tokens.indices {
      tokens[i].special = allSpecials.contains { same($0.text, tokens[i].text) }
      tokens[i].additional = additional.contains { same($0.text, tokens[i].text) }
    }
    tokens.sort { $0.id < $1.id }
    func id(_ name: String) -> Int32? {
      specials[name].flatMap { special in tokens.first { same($0.text, special.text) }?.id }
    }
    definition.addedTokens = tokens
    definition.bos = id("bos_token")
    definition.eos = id("eos_token")
    definition.unk = id("unk_token")
  }
}

/// Byte for byte: `==` would take canonically equivalent texts for equal.
private func same(_ a: String, _ b: String) -> Bool { a.utf8.elementsEqual(b.utf8) }
