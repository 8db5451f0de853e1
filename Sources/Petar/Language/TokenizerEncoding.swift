import CPetar

/// Text to ids under one set of rules. The text is not empty.
protocol TokenizerEncoder: Sendable {
  func encode(_ text: [UInt8]) -> [Int32]
}

/// transformers' slow LlamaTokenizer, `legacy=True`: SentencePiece sees each stretch between added tokens as a text
/// of its own, and puts a space in front of each.
struct TokenizerLegacyEncoder: TokenizerEncoder {
  private let pieces: TokenizerPieces
  private let added: TokenizerAddedTokens
  private let dummyPrefix: Bool

  init(_ definition: TokenizerDefinition, pieces: TokenizerPieces, added: TokenizerAddedTokens) {
    self.pieces = pieces
    self.added = added
    dummyPrefix = definition.addDummyPrefix
  }

  func encode(_ text: [UInt8]) -> [Int32] {
    added.splitSlowly(text).flatMap { stretch in
      stretch.token.map { [$0] } ?? pieces.encode(stretch.text, dummyPrefix: dummyPrefix)
    }
  }
}

/// The same, `legacy=False`: one space in front of the whole text, taken away again before a special token.
struct TokenizerSlowEncoder: TokenizerEncoder {
  private let pieces: TokenizerPieces
  private let added: TokenizerAddedTokens
  private let addPrefixSpace: Bool
  /// A stretch that begins with a space is encoded behind this text, so that SentencePiece cannot strip the space;
  /// the tokens of this text are cut off again.
  private let guardText: [UInt8]
  private let guardLength: Int
  private let spaceID: Int32?

  init(_ definition: TokenizerDefinition, pieces: TokenizerPieces, added: TokenizerAddedTokens) {
    self.pieces = pieces
    self.added = added
    addPrefixSpace = definition.addPrefixSpace
    let unknown = definition.unk ?? pieces.unknown
    let text =
      added.token(unknown)?.text
      ?? (pieces.pieces.indices.contains(Int(unknown)) ? pieces.pieces[Int(unknown)].text : "")
    guardText = Array(text.utf8)
    guardLength = pieces.encode(guardText, dummyPrefix: false).count
    spaceID = pieces.id(of: TokenizerPieces.space)
  }

  func encode(_ text: [UInt8]) -> [Int32] {
    var unescaped = addPrefixSpace ? TokenizerPieces.space : []
    TokenizerPieces.unescape(text, into: &unescaped)
    let stretches = added.splitSlowly(unescaped)
    var ids: [Int32] = []
    for (position, stretch) in stretches.enumerated() {
      if position == 1, ids == [spaceID], stretch.token.flatMap(added.token)?.special == true { ids = [] }
      ids += stretch.token.map { [$0] } ?? encode(stretch: stretch.text)
    }
    return ids
  }

  private func encode(stretch: [UInt8]) -> [Int32] {
    guard stretch.starts(with: TokenizerPieces.space) || stretch.first == UInt8(ascii: " ") else {
      return pieces.encode(stretch, dummyPrefix: false)
    }
    let ids = pieces.encode(guardText + stretch, dummyPrefix: false)
    return ids.count >= guardLength ? Array(ids.dropFirst(guardLength)) : ids
  }
}

/// The BPE of `tokenizers` (tokenizer.json): spaces become U+2581, then pairs are merged by rank.
struct TokenizerFastEncoder: TokenizerEncoder {
  private let pieces: TokenizerPieces
  /// Looked for in the text as it came, and after spaces were replaced.
  private let raw: TokenizerAddedTokens
  private let normalized: TokenizerAddedTokens
  private let prefix: TokenizerDefinition.Prefix
  private let fuseUnknown: Bool
  private let unknown: Int32?
  /// (left << 32 | right) -> (rank, id).
  private let merges: [UInt64: (rank: Int, id: Int32)]

  init(_ definition: TokenizerDefinition, pieces: TokenizerPieces, source: String) throws {
    self.pieces = pieces
    prefix = definition.prefix
    fuseUnknown = definition.fuseUnknown
    unknown = definition.unk
    let normalizes = prefix == .everyStretch
    guard let raw = TokenizerAddedTokens(definition.addedTokens.filter { !$0.normalized }),
      let normalized = TokenizerAddedTokens(
        definition.addedTokens.filter(\.normalized),
        spelled: { normalizes ? Self.normalize(Array($0.utf8)) : Array($0.utf8) })
    else {
      throw PetarError(PETAR_ERROR_BAD_FILE, "\(source): two added tokens have the same text, or there are too many")
    }
    self.raw = raw
    self.normalized = normalized
    var merges: [UInt64: (rank: Int, id: Int32)] = [:]
    merges.reserveCapacity(definition.merges.count)
    for (rank, merge) in definition.merges.enumerated() {
      let text = definition.pieces[Int(merge.left)].text + definition.pieces[Int(merge.right)].text
      guard let id = pieces.id(of: Array(text.utf8)) else {
        throw PetarError(PETAR_ERROR_BAD_FILE, "\(source): merge \(rank) makes \"\(text)\", which is no piece")
      }
      merges[Self.key(merge.left, merge.right)] = (rank, id)
    }
    self.merges = merges
  }

  func encode(_ text: [UInt8]) -> [Int32] {
    var ids: [Int32] = []
    var isFirst = true
    for stretch in raw.splitFast(text) {
      if let token = stretch.token {
        ids.append(token)
      } else {
        let text = prefix == .everyStretch ? Self.normalize(stretch.text) : stretch.text
        for part in normalized.splitFast(text) {
          ids += part.token.map { [$0] } ?? merge(prefixed(part.text, isFirst: isFirst))
          isFirst = false
        }
      }
      isFirst = false
    }
    return ids
  }

  /// The normalizers Prepend and Replace.
  private static func normalize(_ text: [UInt8]) -> [UInt8] {
    TokenizerPieces.space + TokenizerPieces.escape(text)
  }

  /// The pre-tokenizer Metaspace.
  private func prefixed(_ text: [UInt8], isFirst: Bool) -> [UInt8] {
    let text = TokenizerPieces.escape(text)
    let wanted = prefix == .always || (prefix == .first && isFirst)
    return wanted && !text.starts(with: TokenizerPieces.space) ? TokenizerPieces.space + text : text
  }

  private func merge(_ text: [UInt8]) -> [Int32] {
    var symbols: [TokenizerSymbol] = []
    symbols.reserveCapacity(text.count)
    var afterUnknown = false
    var position = 0
    while position < text.count {
      let length = min(TokenizerPieces.length(of: text[position]), text.count - position)
      let character = text[position..<(position + length)]
      let bytes = pieces.byteIDs.isEmpty ? [] : character.map { pieces.byteIDs[Int($0)] }
      let isUnknown: Bool
      if let id = pieces.id(of: character) {
        symbols.append(TokenizerSymbol(start: position, length: length, id: id))
        isUnknown = false
      } else if !bytes.isEmpty, !bytes.contains(-1) {
        for (offset, id) in bytes.enumerated() {
          symbols.append(TokenizerSymbol(start: position + offset, length: 1, id: id))
        }
        isUnknown = false
      } else {
        if let unknown, !(fuseUnknown && afterUnknown) {
          symbols.append(TokenizerSymbol(start: position, length: length, id: unknown))
        }
        isUnknown = true
      }
      afterUnknown = isUnknown
      position += length
    }
    let merged = TokenizerMerging.merge(symbols) { left, right in
      merges[Self.key(left.id, right.id)].map { TokenizerMerging.Merged(priority: -Double($0.rank), id: $0.id) }
    }
    return merged.map(\.id)
  }

  private static func key(_ left: Int32, _ right: Int32) -> UInt64 {
    UInt64(UInt32(bitPattern: left)) << 32 | UInt64(UInt32(bitPattern: right))
  }
}
