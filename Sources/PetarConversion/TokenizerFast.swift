import CPetar
import Petar

private let fileName = "tokenizer.json"

/// tokenizer.json of a Llama tokenizer: BPE with U+2581 for spaces.
func readFastTokenizer(_ files: TokenizerFolder) throws -> TokenizerDefinition {
  guard let file = try files.json(fileName) else { throw files.damaged(fileName, "not found") }
  let config = try files.json("tokenizer_config.json") ?? .object([])
  var definition = TokenizerDefinition()
  definition.rules = .fast
  for part in ["pre_tokenizer", "decoder", "normalizer"]
  where steps(file[part]).contains(where: { $0["type"]?.text == "ByteLevel" }) {
    throw files.refuse(
      fileName, "byte-level BPE is not supported; PETAR and M3D checkpoints use SentencePiece")
  }
  try readModel(files, file, into: &definition)
  try readSpacing(files, file, into: &definition)
  for value in file["added_tokens"]?.elements ?? [] {
    guard let id = value["id"]?.id, let token = readAddedToken(value, id: id) else {
      throw files.damaged(fileName, "an added token has no id or no text")
    }
    definition.addedTokens.append(token)
  }
  func id(_ name: String) -> Int32? {
    guard let text = config[name]?.text ?? config[name]?["content"]?.text else { return nil }
    return definition.addedTokens.first { $0.text.utf8.elementsEqual(text.utf8) }?.id
  }
  definition.bos = id("bos_token")
  definition.eos = id("eos_token")
  try readTemplate(files, file, into: &definition)
  definition.addBOS = config["add_bos_token"]?.flag ?? definition.addBOS
  return definition
}

/// A component, or the components of a Sequence.
private func steps(_ value: TokenizerJSONValue?) -> [TokenizerJSONValue] {
  guard let value else { return [] }
  guard value["type"]?.text == "Sequence" else { return [value] }
  let names = ["normalizers", "pretokenizers", "decoders", "processors"]
  return names.compactMap { value[$0]?.elements }.first ?? []
}

private func readModel(
  _ files: TokenizerFolder, _ file: TokenizerJSONValue, into definition: inout TokenizerDefinition
) throws {
  guard let model = file["model"], let vocabulary = model["vocab"]?.members, let merges = model["merges"]?.elements,
    model["type"]?.text ?? "BPE" == "BPE"
  else {
    let type = file["model"]?["type"]?.text ?? "unknown"
    throw files.refuse(
      fileName, "a tokenizer model of type \(type) is not supported; PETAR and M3D checkpoints use BPE")
  }
  for name in ["continuing_subword_prefix", "end_of_word_suffix"] where !(model[name]?.text ?? "").isEmpty {
    throw files.refuse(fileName, "\(name) is not supported")
  }
  if model["ignore_merges"]?.flag == true { throw files.refuse(fileName, "ignore_merges = true is not supported") }
  if case .number(let dropout)? = model["dropout"], dropout != 0 {
    throw files.refuse(fileName, "dropout is not supported")
  }
  definition.byteFallback = model["byte_fallback"]?.flag ?? false
  definition.fuseUnknown = model["fuse_unk"]?.flag ?? false

  var ids: [[UInt8]: Int32] = [:]
  for (text, value) in vocabulary {
    guard let id = value.id, (0..<Int32(TokenizerDefinition.maximumCount)).contains(id), !text.isEmpty else {
      throw files.damaged(fileName, "piece \"\(text)\" has no id, or one out of range")
    }
    // Ids the file leaves out have no piece.
    while definition.pieces.count <= Int(id) { definition.pieces.append(.init("", kind: .unused)) }
    let isByte = definition.byteFallback && text.utf8.count == 6 && text.hasPrefix("<0x") && text.hasSuffix(">")
    definition.pieces[Int(id)] = .init(text, kind: isByte ? .byte : .normal)
    ids[Array(text.utf8)] = id
  }
  definition.unk = model["unk_token"]?.text.flatMap { ids[Array($0.utf8)] }
  for (rank, value) in merges.enumerated() {
    let parts =
      value.elements?.compactMap { $0.text.map { Array($0.utf8) } }
      ?? value.text.map { $0.utf8.split(separator: UInt8(ascii: " ")).map { Array($0) } } ?? []
    guard parts.count == 2, let left = ids[parts[0]], let right = ids[parts[1]] else {
      throw files.damaged(fileName, "merge \(rank) is not made of two pieces")
    }
    definition.merges.append(.init(left, right))
  }
}

/// How spaces are written, and where one is put in front or taken away.
private func readSpacing(
  _ files: TokenizerFolder, _ file: TokenizerJSONValue, into definition: inout TokenizerDefinition
) throws {
  let space = "\u{2581}"
  var replaces = false
  for step in steps(file["normalizer"]) {
    switch step["type"]?.text {
    case "Prepend" where step["prepend"]?.text == space: definition.prefix = .everyStretch
    case "Replace" where step["pattern"]?["String"]?.text == " " && step["content"]?.text == space: replaces = true
    default:
      throw files.refuse(
        fileName, "normalizer \(step["type"]?.text ?? "?") is not supported, only U+2581 in front and for spaces")
    }
  }
  for step in steps(file["pre_tokenizer"]) {
    guard step["type"]?.text == "Metaspace", step["replacement"]?.text == space, step["split"]?.flag == false,
      definition.prefix == .none
    else {
      throw files.refuse(
        fileName, "pre-tokenizer \(step["type"]?.text ?? "?") is not supported, only Metaspace with split = false")
    }
    switch step["prepend_scheme"]?.text {
    case "first": definition.prefix = .first
    case "never": definition.prefix = .none
    default: definition.prefix = .always
    }
    replaces = true
  }
  guard replaces else { throw files.refuse(fileName, "spaces are not written as U+2581; this is no Llama tokenizer") }
  definition.addPrefixSpace = steps(file["decoder"]).contains { step in
    switch step["type"]?.text {
    case "Strip": step["content"]?.text == " " && step["start"]?.id ?? 0 > 0
    case "Metaspace": step["prepend_scheme"]?.text != "never"
    default: false
    }
  }
}

/// Whether the file's own template puts a begin-of-text token in front.
private func readTemplate(
  _ files: TokenizerFolder, _ file: TokenizerJSONValue, into definition: inout TokenizerDefinition
) throws {
  definition.addBOS = false
  for step in steps(file["post_processor"]) where step["type"]?.text == "TemplateProcessing" {
    let single = step["single"]?.elements ?? []
    let special = single.map { $0["SpecialToken"]?["id"]?.text }
    guard let text = special.first ?? nil else { continue }
    guard special.dropFirst().allSatisfy({ $0 == nil }) else {
      throw files.refuse(fileName, "a template with more than a begin-of-text token is not supported")
    }
    definition.addBOS = true
    definition.bos = definition.addedTokens.first { $0.text.utf8.elementsEqual(text.utf8) }?.id ?? definition.bos
  }
}
