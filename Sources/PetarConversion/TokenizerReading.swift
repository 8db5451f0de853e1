import CPetar
import Foundation
import Petar

/// Reads the tokenizer of a Hugging Face checkpoint folder.
///
/// tokenizer.model (SentencePiece) wins, with the added tokens of tokenizer_config.json, or of added_tokens.json and
/// special_tokens_map.json, and follows transformers' slow LlamaTokenizer. A folder with a tokenizer.json only follows
/// `tokenizers`.
///
/// - Throws: `PETAR_ERROR_IO`, `PETAR_ERROR_BAD_FILE` or `PETAR_ERROR_UNSUPPORTED`; the message names the file.
package func readTokenizer(folder: String) throws -> TokenizerDefinition {
  let files = TokenizerFolder(path: folder)
  let definition: TokenizerDefinition
  let source: String
  if files.has("tokenizer.model") {
    source = files.path(of: "tokenizer.model")
    definition = try readSlowTokenizer(files)
  } else if files.has("tokenizer.json") {
    source = files.path(of: "tokenizer.json")
    definition = try readFastTokenizer(files)
  } else {
    throw PetarError(
      PETAR_ERROR_IO,
      "\(folder): there is neither a tokenizer.model nor a tokenizer.json; copy them from the checkpoint")
  }
  // What cannot be built is better refused now than when the .petar file is opened.
  _ = try Tokenizer(definition, source: source)
  return definition
}

/// The files of a checkpoint folder, as far as the tokenizer goes.
struct TokenizerFolder {
  let path: String

  func path(of name: String) -> String { path + "/" + name }
  func has(_ name: String) -> Bool { FileManager.default.fileExists(atPath: path(of: name)) }

  func bytes(_ name: String) throws -> [UInt8] { try SourceFile(path: path(of: name)).readAll() }

  /// nil when there is no such file.
  func json(_ name: String) throws -> TokenizerJSONValue? {
    guard has(name) else { return nil }
    let value = try TokenizerJSONValue(parsing: try bytes(name), source: path(of: name))
    guard value.members != nil else { throw PetarError(PETAR_ERROR_BAD_FILE, "\(path(of: name)): not a JSON object") }
    return value
  }

  func refuse(_ name: String, _ what: String) -> PetarError {
    PetarError(PETAR_ERROR_UNSUPPORTED, "\(path(of: name)): \(what)")
  }
  func damaged(_ name: String, _ what: String) -> PetarError {
    PetarError(PETAR_ERROR_BAD_FILE, "\(path(of: name)): \(what)")
  }
}

/// An added token as the JSON files write it; `id` -1 for one that is not known yet.
func readAddedToken(_ value: TokenizerJSONValue, id: Int32) -> TokenizerDefinition.AddedToken? {
  guard let text = value.text ?? value["content"]?.text, !text.isEmpty else { return nil }
  var token = TokenizerDefinition.AddedToken(text, id: id)
  token.special = value["special"]?.flag ?? false
  token.lstrip = value["lstrip"]?.flag ?? false
  token.rstrip = value["rstrip"]?.flag ?? false
  token.singleWord = value["single_word"]?.flag ?? false
  token.normalized = value["normalized"]?.flag ?? false
  return token
}
