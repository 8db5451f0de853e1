import CPetar
import Petar

/// The token that stands for one vision token.
package let imageTokenText = "<im_patch>"

/// The tokenizer of a checkpoint folder, and the files it was read from.
struct CheckpointTokenizer {
  let definition: TokenizerDefinition
  /// The id of `imageTokenText`.
  let imageToken: Int32
  let files: [SourceFile]

  private static let fileNames = [
    "added_tokens.json", "special_tokens_map.json", "tokenizer.json", "tokenizer.model", "tokenizer_config.json",
  ]

  /// - Throws: what `readTokenizer` throws; `PETAR_ERROR_BAD_FILE` when the tokenizer has no <im_patch>, or makes
  ///   something else of its text.
  init(folder: String) throws {
    definition = try readTokenizer(folder: folder)
    let tokenizer = try Tokenizer(definition, source: folder)
    guard let imageToken = tokenizer.id(of: imageTokenText) else {
      throw PetarError(
        PETAR_ERROR_BAD_FILE,
        "\(folder): the tokenizer has no token \(imageTokenText); copy added_tokens.json and tokenizer_config.json from "
          + "the checkpoint too")
    }
    guard tokenizer.encode(imageTokenText + imageTokenText, addBOS: false) == [imageToken, imageToken] else {
      throw PetarError(
        PETAR_ERROR_BAD_FILE,
        "\(folder): the tokenizer does not turn each \(imageTokenText) into token \(imageToken); take the tokenizer's "
          + "files from one checkpoint")
    }
    self.imageToken = imageToken
    let present = TokenizerFolder(path: folder)
    files = try Self.fileNames.filter(present.has).map { try SourceFile(path: present.path(of: $0)) }
  }
}
