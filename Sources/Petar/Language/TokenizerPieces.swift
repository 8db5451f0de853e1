import CPetar

/// The pieces of a SentencePiece BPE model and its way from text to ids (normalization "identity").
struct TokenizerPieces: Sendable {
  static let space: [UInt8] = [0xE2, 0x96, 0x81]

  let pieces: [TokenizerDefinition.Piece]
  /// -1 when there is none.
  let unknown: Int32
  /// Ids of "<0x00>"..."<0xFF>", or empty: characters without a piece are unknown.
  let byteIDs: [Int32]
  /// The byte a piece stands for.
  let byteValues: [Int32: UInt8]
  private let removeExtraWhitespaces: Bool
  /// SentencePiece keeps two tables: what text can become, and what only ids can name.
  private let ordinary: TokenizerIndex
  private let reserved: TokenizerIndex
  private let userDefined: TokenizerTrie

  init(_ definition: TokenizerDefinition, source: String) throws {
    func fail(_ what: String) -> PetarError { PetarError(PETAR_ERROR_BAD_FILE, "\(source): \(what)") }
    pieces = definition.pieces
    removeExtraWhitespaces = definition.removeExtraWhitespaces
    var ordinary = TokenizerIndex(capacity: pieces.count)
    var reserved = TokenizerIndex(capacity: pieces.count)
    var userDefined = TokenizerTrie()
    var unknown: Int32?
    var byteValues: [Int32: UInt8] = [:]
    for (position, piece) in pieces.enumerated() where !piece.text.isEmpty {
      let id = Int32(truncatingIfNeeded: position)
      let isNew: Bool
      switch piece.kind {
      case .normal, .unused: isNew = ordinary.insert(piece.text, id: id)
      case .userDefined:
        isNew = ordinary.insert(piece.text, id: id)
        guard userDefined.insert(piece.text.utf8, id: id) else { throw fail("there are too many user-defined pieces") }
      case .control: isNew = reserved.insert(piece.text, id: id)
      case .unknown:
        guard unknown == nil else { throw fail("pieces \(unknown ?? 0) and \(id) are both the unknown piece") }
        isNew = reserved.insert(piece.text, id: id)
        unknown = id
      case .byte:
        guard let value = Self.byte(of: piece.text) else { throw fail("piece \(id) is no byte such as <0x0A>") }
        isNew = reserved.insert(piece.text, id: id)
        byteValues[id] = value
      }
      guard isNew else { throw fail("piece \(id) has the text of another piece") }
    }
    var byteIDs = [Int32](repeating: -1, count: 256)
    for (id, value) in byteValues { byteIDs[Int(value)] = id }
    if definition.rules != .fast {
      if definition.byteFallback, let missing = byteIDs.firstIndex(of: -1) {
        throw fail("byte fallback needs a piece for every byte, and byte \(missing) has none")
      }
      // With byte fallback nothing is unknown, and some models indeed have no such piece.
      guard definition.byteFallback || unknown != nil else { throw fail("there is no unknown piece") }
    }
    self.ordinary = ordinary
    self.reserved = reserved
    self.userDefined = userDefined
    self.unknown = unknown ?? -1
    self.byteValues = byteValues
    self.byteIDs = definition.byteFallback ? byteIDs : []
  }

  /// The id SentencePiece has for a piece, nil if it is none.
  func id(of text: some Collection<UInt8>) -> Int32? { reserved.find(text) ?? ordinary.find(text) }

  /// The id of text that merging can produce.
  func ordinaryID(of text: UnsafeRawBufferPointer) -> Int32? { ordinary.find(text) }

  /// SentencePiece's Encode: normalize, split into characters, merge, and name what remains.
  func encode(_ text: [UInt8], dummyPrefix: Bool) -> [Int32] {
    normalize(text, dummyPrefix: dummyPrefix).withUnsafeBytes { text in
      var splits: [Int32: Int] = [:]
      let symbols = TokenizerMerging.merge(characters(of: text)) { left, right in
        let length = left.length + right.length
        guard length <= ordinary.longest,
          let id = ordinary.find(UnsafeRawBufferPointer(rebasing: text[left.start..<(left.start + length)]))
        else { return nil }
        if pieces[Int(id)].kind == .unused { splits[id] = left.length }
        return TokenizerMerging.Merged(priority: Double(pieces[Int(id)].score), id: id)
      }
      var ids: [Int32] = []
      ids.reserveCapacity(symbols.count)
      var afterUnknown = false
      for symbol in symbols {
        // Unused pieces are taken apart the way they were last put together.
        var parts = [symbol]
        while let part = parts.popLast() {
          if part.id >= 0, let length = splits[part.id], pieces[Int(part.id)].kind == .unused {
            let left = UnsafeRawBufferPointer(rebasing: text[part.start..<(part.start + length)])
            let rest = (part.start + length)..<(part.start + part.length)
            let right = UnsafeRawBufferPointer(rebasing: text[rest])
            parts.append(
              TokenizerSymbol(start: rest.lowerBound, length: rest.count, id: ordinary.find(right) ?? -1))
            parts.append(TokenizerSymbol(start: part.start, length: length, id: ordinary.find(left) ?? -1))
          } else if part.id >= 0 {
            ids.append(part.id)
            afterUnknown = false
          } else if byteIDs.isEmpty {
            // Unknown characters in a row are one token.
            if !afterUnknown { ids.append(unknown) }
            afterUnknown = true
          } else {
            ids.append(contentsOf: text[part.start..<(part.start + part.length)].map { byteIDs[Int($0)] })
          }
        }
      }
      return ids
    }
  }

  private func characters(of text: UnsafeRawBufferPointer) -> [TokenizerSymbol] {
    var symbols: [TokenizerSymbol] = []
    symbols.reserveCapacity(text.count)
    var position = 0
    while position < text.count {
      if let match = userDefined.longestMatch(in: text, at: position) {
        symbols.append(TokenizerSymbol(start: position, length: match.length, id: match.id, frozen: true))
        position += match.length
      } else {
        let length = min(Self.length(of: text[position]), text.count - position)
        let character = UnsafeRawBufferPointer(rebasing: text[position..<(position + length)])
        symbols.append(TokenizerSymbol(start: position, length: length, id: ordinary.find(character) ?? -1))
        position += length
      }
    }
    return symbols
  }

  /// SentencePiece's Normalize for an identity character map: escapes spaces, puts one in front, and drops those
  /// that are too many if the model asks for it. User-defined pieces are left whole.
  private func normalize(_ text: [UInt8], dummyPrefix: Bool) -> [UInt8] {
    let blank = UInt8(ascii: " ")
    let start = removeExtraWhitespaces ? text.firstIndex { $0 != blank } ?? text.count : 0
    guard start < text.count else { return [] }
    var out: [UInt8] = []
    out.reserveCapacity(text.count + 3)
    if dummyPrefix { out.append(contentsOf: Self.space) }
    guard removeExtraWhitespaces else { return out + Self.escape(text) }
    text.withUnsafeBytes { text in
      var position = start
      var afterSpace = true
      while position < text.count {
        let length =
          userDefined.longestMatch(in: text, at: position)?.length
          ?? min(Self.length(of: text[position]), text.count - position)
        var unit = text[position..<(position + length)]
        if afterSpace { unit = unit.drop { $0 == blank } }
        for byte in unit { byte == blank ? out.append(contentsOf: Self.space) : out.append(byte) }
        if let last = unit.last { afterSpace = last == blank }
        position += length
      }
    }
    while out.suffix(3).elementsEqual(Self.space) { out.removeLast(3) }
    return out
  }

  /// The value of "<0x0A>".
  static func byte(of text: String) -> UInt8? {
    let digits = text.utf8.dropFirst(3).dropLast()
    guard text.utf8.count == 6, text.hasPrefix("<0x"), text.hasSuffix(">"),
      digits.allSatisfy({ (0x30...0x39).contains($0) || (0x41...0x46).contains($0) })
    else { return nil }
    return UInt8(Substring(digits), radix: 16)
  }

  /// Bytes of the UTF-8 character that a byte begins; 1 for one that begins none.
  static func length(of first: UInt8) -> Int {
    switch first {
    case 0xC0...0xDF: 2
    case 0xE0...0xEF: 3
    case 0xF0...0xF7: 4
    default: 1
    }
  }

  /// Spaces become U+2581.
  static func escape(_ text: [UInt8]) -> [UInt8] {
    guard text.contains(UInt8(ascii: " ")) else { return text }
    var out: [UInt8] = []
    out.reserveCapacity(text.count)
    for byte in text { byte == UInt8(ascii: " ") ? out.append(contentsOf: space) : out.append(byte) }
    return out
  }

  /// U+2581 becomes a space.
  static func unescape(_ text: some Collection<UInt8>, into out: inout [UInt8]) {
    var rest = text[...]
    while let first = rest.first {
      let isSpace = rest.starts(with: space)
      out.append(isSpace ? UInt8(ascii: " ") : first)
      rest = rest.dropFirst(isSpace ? space.count : 1)
    }
  }
}
