// The section of a .petar file that holds a tokenizer. Fields are only ever appended: the format version in the
// file's header changes when this does.
extension TokenizerDefinition {
  package func write(to out: inout ByteWriter) {
    out.integer(rules.rawValue)
    out.integer(prefix.rawValue)
    out.integer(
      Self.bits([addBOS, addDummyPrefix, removeExtraWhitespaces, byteFallback, addPrefixSpace, fuseUnknown]))
    for id in [bos, eos, unk] { out.integer(id ?? -1) }
    out.string(unknownSurface)
    out.integer(UInt32(clamping: pieces.count))
    for piece in pieces {
      out.integer(piece.kind.rawValue)
      out.float(piece.score)
      out.string(piece.text)
    }
    out.integer(UInt32(clamping: addedTokens.count))
    for token in addedTokens {
      out.integer(token.id)
      out.integer(
        Self.bits([token.special, token.additional, token.lstrip, token.rstrip, token.singleWord, token.normalized]))
      out.string(token.text)
    }
    out.integer(UInt32(clamping: merges.count))
    for merge in merges {
      out.integer(merge.left)
      out.integer(merge.right)
    }
  }

  /// Reads what `write` wrote and validates it.
  package init(from reader: inout ByteReader) throws {
    self.init()
    rules = try Self.value(try reader.integer(), "rules", reader)
    prefix = try Self.value(try reader.integer(), "prefix", reader)
    let flags = try Self.flags(&reader)
    (addBOS, addDummyPrefix, removeExtraWhitespaces) = (flags[0], flags[1], flags[2])
    (byteFallback, addPrefixSpace, fuseUnknown) = (flags[3], flags[4], flags[5])
    func id() throws -> Int32? {
      let raw: Int32 = try reader.integer()
      return raw == -1 ? nil : raw
    }
    bos = try id()
    eos = try id()
    unk = try id()
    unknownSurface = try reader.string("text for unknown pieces", limit: Self.maximumTextLength)

    let pieceCount = try Self.count("pieces", of: 9, &reader)
    pieces.reserveCapacity(pieceCount)
    for _ in 0..<pieceCount {
      let kind: Piece.Kind = try Self.value(try reader.integer(), "kind of a piece", reader)
      let score = try reader.float()
      pieces.append(Piece(try reader.string("piece", limit: Self.maximumTextLength), score: score, kind: kind))
    }
    for _ in 0..<(try Self.count("added tokens", of: 9, &reader)) {
      let id: Int32 = try reader.integer()
      let flags = try Self.flags(&reader)
      var token = AddedToken(try reader.string("added token", limit: Self.maximumTextLength), id: id)
      (token.special, token.additional, token.lstrip) = (flags[0], flags[1], flags[2])
      (token.rstrip, token.singleWord, token.normalized) = (flags[3], flags[4], flags[5])
      addedTokens.append(token)
    }
    let mergeCount = try Self.count("merges", of: 8, &reader)
    merges.reserveCapacity(mergeCount)
    for _ in 0..<mergeCount { merges.append(Merge(try reader.integer(), try reader.integer())) }
    try validate(source: reader.source)
  }

  private static func bits(_ flags: [Bool]) -> UInt8 {
    flags.reversed().reduce(0) { $0 << 1 | ($1 ? 1 : 0) }
  }

  private static func flags(_ reader: inout ByteReader) throws -> [Bool] {
    let raw: UInt8 = try reader.integer()
    guard raw < 1 << 6 else { throw reader.fail("tokenizer flags \(raw) are not known; a newer library may be needed") }
    return (0..<6).map { raw >> $0 & 1 != 0 }
  }

  private static func value<T: RawRepresentable>(_ raw: UInt8, _ what: String, _ reader: ByteReader) throws -> T
  where T.RawValue == UInt8 {
    guard let value = T(rawValue: raw) else {
      throw reader.fail("tokenizer \(what) \(raw) is not known; a newer library may be needed")
    }
    return value
  }

  /// A count of entries of at least `size` bytes each, so that no more is reserved than the bytes can hold.
  private static func count(_ what: String, of size: Int, _ reader: inout ByteReader) throws -> Int {
    let raw: UInt32 = try reader.integer()
    guard Int(raw) <= min(reader.remaining / size, maximumCount) else {
      throw reader.fail("\(raw) tokenizer \(what) do not fit; the file is damaged or truncated")
    }
    return Int(raw)
  }
}
