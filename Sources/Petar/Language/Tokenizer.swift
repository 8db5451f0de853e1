import CPetar

/// Text to token ids and back, as the checkpoint's own tokenizer does it (`TokenizerDefinition.Rules`).
package final class Tokenizer: Sendable {
  package let definition: TokenizerDefinition
  /// Ids are 0..<count: the rows of the model's embedding, some of which may have no piece.
  package let count: Int
  let pieces: TokenizerPieces
  let added: TokenizerAddedTokens
  private let encoder: any TokenizerEncoder

  /// - Parameters:
  ///   - vocabulary: rows of the model's embedding; by default as many as the definition has ids.
  ///   - source: the file the definition came from, for messages.
  /// - Throws: `PETAR_ERROR_BAD_FILE` when no tokenizer can be built from the definition.
  package init(_ definition: TokenizerDefinition, vocabulary: Int? = nil, source: String = "tokenizer") throws {
    try definition.validate(source: source)
    let count = vocabulary ?? definition.count
    guard definition.count <= count else {
      throw PetarError(
        PETAR_ERROR_BAD_FILE,
        "\(source): the tokenizer has ids up to \(definition.count - 1), more than the model's vocabulary of \(count); "
          + "they do not belong together")
    }
    let pieces = try TokenizerPieces(definition, source: source)
    guard let added = TokenizerAddedTokens(definition.addedTokens) else {
      throw PetarError(PETAR_ERROR_BAD_FILE, "\(source): two added tokens have the same text, or there are too many")
    }
    self.definition = definition
    self.count = count
    self.pieces = pieces
    self.added = added
    encoder =
      switch definition.rules {
      case .slowLegacy: TokenizerLegacyEncoder(definition, pieces: pieces, added: added)
      case .slow: TokenizerSlowEncoder(definition, pieces: pieces, added: added)
      case .fast: try TokenizerFastEncoder(definition, pieces: pieces, source: source)
      }
  }

  /// Tokens take some hundred times the memory of their text while they are made, so that text from outside is looked
  /// at first.
  /// - Parameter bytes: nil for more than can be counted.
  /// - Throws: `PETAR_ERROR_CONTEXT_FULL` for more than any context holds.
  static func checkLength(_ bytes: Int?) throws {
    guard let bytes, bytes <= 1 << 22 else {
      throw PetarError(
        PETAR_ERROR_CONTEXT_FULL, "the text is longer than 4194304 bytes, which no model takes; give a shorter one")
    }
  }

  /// O(n log n) in the length of the text. Without a begin-of-text token `addBOS` does nothing.
  package func encode(_ text: String, addBOS: Bool) -> [Int32] {
    let start = addBOS ? definition.bos.map { [$0] } ?? [] : []
    return text.isEmpty ? start : start + encoder.encode(Array(text.utf8))
  }

  /// - Parameter keepSpecial: write special tokens out instead of omitting them.
  /// - Throws: `PETAR_ERROR_BAD_TEXT` for an id outside the model's vocabulary. Ids inside it that have no piece
  ///   (the padded rows of an embedding) are left out.
  package func decode(_ ids: [Int32], keepSpecial: Bool) throws -> String {
    var detokenizer = detokenizer(keepSpecial: keepSpecial)
    var text = ""
    for id in ids {
      guard id >= 0, id < count else {
        throw PetarError(
          PETAR_ERROR_BAD_TEXT, "token \(id) lies outside the model's vocabulary of \(count) tokens (0...\(count - 1))")
      }
      detokenizer.push(id)
      text += detokenizer.take()
    }
    detokenizer.finish()
    return text + detokenizer.take()
  }

  fileprivate func detokenizer(keepSpecial: Bool) -> any Detokenizer {
    definition.rules == .fast
      ? FastDetokenizer(self, keepSpecial: keepSpecial) : SlowDetokenizer(self, keepSpecial: keepSpecial)
  }

  /// The id of an added token or a piece ("<im_patch>", "▁the"), nil if there is none.
  package func id(of text: String) -> Int32? {
    let bytes = Array(text.utf8)
    return added.token(of: bytes)?.id ?? pieces.id(of: bytes)
  }
}

/// Text as it is written: whole UTF-8 characters only, special tokens left out. What `push` and `finish` return,
/// put together, is what `Tokenizer.decode` makes of all the ids.
package struct StreamDecoder {
  private var detokenizer: any Detokenizer
  private let count: Int

  package init(_ tokenizer: Tokenizer) {
    detokenizer = tokenizer.detokenizer(keepSpecial: false)
    count = tokenizer.count
  }

  /// Empty while a character is incomplete, and for an id outside the vocabulary.
  package mutating func push(_ id: Int32) -> String {
    guard id >= 0, id < count else { return "" }
    detokenizer.push(id)
    return detokenizer.take()
  }

  /// What was still held back: bytes that never became a character, as U+FFFD.
  package mutating func finish() -> String {
    detokenizer.finish()
    return detokenizer.take()
  }
}
