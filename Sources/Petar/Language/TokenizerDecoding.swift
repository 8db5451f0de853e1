/// Ids to UTF-8, one id after the other, under one set of rules. Memory is used again, so that a token allocates none.
protocol Detokenizer: Sendable {
  /// An id inside the vocabulary; those without a piece are left out.
  mutating func push(_ id: Int32)
  /// The end of the text: what is held back is written.
  mutating func finish()
  /// The text written since the last call, whole characters only.
  mutating func take() -> String
}

/// Bytes set aside for the text of a token: more than the longest pieces of Llama's vocabulary take.
private let tokenRoom = 64

/// transformers' slow `decode`: text between added tokens is decoded for itself by SentencePiece, loses a prefix
/// space (two, where both libraries take one) and is joined to its neighbours by spaces.
struct SlowDetokenizer: Detokenizer {
  private let definition: TokenizerDefinition
  private let added: TokenizerAddedTokens
  private let keepSpecial: Bool

  private var out: [UInt8] = []
  /// Something was written before the stretch at hand.
  private var hasPrevious = false
  /// Of the stretch at hand: how many tokens it has, what is held back of its text, whether any was written.
  private var position = 0
  private var stretch: [UInt8] = []
  private var stretchHasText = false
  private var afterSpecial = false
  private var chunk: SentencePieceText

  init(_ tokenizer: Tokenizer, keepSpecial: Bool) {
    definition = tokenizer.definition
    added = tokenizer.added
    self.keepSpecial = keepSpecial
    // legacy=False switches the dummy prefix of the SentencePiece model off.
    let dummyPrefix = definition.addDummyPrefix && definition.rules == .slowLegacy
    chunk = SentencePieceText(
      tokenizer.pieces, dummyPrefix: dummyPrefix, removeExtraWhitespaces: definition.removeExtraWhitespaces,
      unknownSurface: Array(definition.unknownSurface.utf8))
    out.reserveCapacity(tokenRoom)
    stretch.reserveCapacity(tokenRoom)
  }

  mutating func take() -> String {
    defer { out.removeAll(keepingCapacity: true) }
    return String(decoding: out, as: UTF8.self)
  }

  mutating func push(_ id: Int32) {
    if let token = added.token(id) {
      if token.special && !keepSpecial { return }
      let text = token.text.utf8
      // transformers looks at special tokens inside a stretch, at all others between two.
      if token.special && !(token.additional && id >= definition.pieces.count) {
        push(special: text)
      } else {
        endStretch()
        if hasPrevious { out.append(UInt8(ascii: " ")) }
        out += text
        hasPrevious = true
      }
    } else if definition.pieces.indices.contains(Int(id)), !definition.pieces[Int(id)].text.isEmpty {
      push(piece: definition.pieces[Int(id)].text.utf8, id: id)
    }
  }

  private mutating func push(piece text: String.UTF8View, id: Int32) {
    let startsWithSpace = text.starts(with: TokenizerPieces.space)
    if position == 0, definition.addPrefixSpace, startsWithSpace {
      chunk.push(text.dropFirst(TokenizerPieces.space.count), id: nil)
    } else {
      if position == 1, definition.addPrefixSpace, afterSpecial, !startsWithSpace { stretch.append(UInt8(ascii: " ")) }
      chunk.push(text, id: id)
    }
    position += 1
    afterSpecial = false
    // A special token puts a space in front of the text before it: that text must wait when they are kept.
    if !keepSpecial { release() }
  }

  private mutating func push(special text: String.UTF8View) {
    if !afterSpecial, position > 0, definition.rules == .slowLegacy { stretch.append(UInt8(ascii: " ")) }
    chunk.finish()
    chunk.take(into: &stretch)
    stretch += text
    chunk.restart()
    position += 1
    afterSpecial = true
  }

  private mutating func endStretch() {
    guard position > 0 else { return }
    chunk.finish()
    release()
    hasPrevious = hasPrevious || stretchHasText
    chunk.restart()
    (position, stretchHasText, afterSpecial) = (0, false, false)
  }

  /// Writes what there is of the stretch.
  private mutating func release() {
    chunk.take(into: &stretch)
    guard !stretch.isEmpty else { return }
    if !stretchHasText, hasPrevious { out.append(UInt8(ascii: " ")) }
    out += stretch
    stretch.removeAll(keepingCapacity: true)
    stretchHasText = true
  }

  mutating func finish() {
    let isOpen = position > 0
    let length = out.count
    let hadText = stretchHasText
    endStretch()
    // A last stretch is joined to what precedes it even when it is empty.
    if isOpen, !hadText, out.count == length, hasPrevious { out.append(UInt8(ascii: " ")) }
  }
}

/// `tokenizers`: everything is strung together and loses one prefix space. Bytes that form no character become
/// U+FFFD one by one (`tokenizers` does that to their whole run, which no stream can know in advance).
struct FastDetokenizer: Detokenizer {
  private let definition: TokenizerDefinition
  private let added: TokenizerAddedTokens
  private let byteValues: [Int32: UInt8]
  private let keepSpecial: Bool
  private var out: [UInt8] = []
  private var bytes = TokenizerByteRun()
  private var mayStrip: Bool

  init(_ tokenizer: Tokenizer, keepSpecial: Bool) {
    definition = tokenizer.definition
    added = tokenizer.added
    byteValues = tokenizer.pieces.byteValues
    self.keepSpecial = keepSpecial
    mayStrip = definition.addPrefixSpace
    out.reserveCapacity(tokenRoom)
  }

  mutating func push(_ id: Int32) {
    let token = added.token(id)
    if token?.special == true && !keepSpecial { return }
    if token == nil, let value = byteValues[id] { return bytes.push(value, into: &out) }
    guard
      let text = token?.text ?? (definition.pieces.indices.contains(Int(id)) ? definition.pieces[Int(id)].text : nil)
    else { return }
    bytes.finish(into: &out)
    TokenizerPieces.unescape(text.utf8, into: &out)
  }

  mutating func finish() { bytes.finish(into: &out) }

  mutating func take() -> String {
    defer { out.removeAll(keepingCapacity: true) }
    if mayStrip, let first = out.first {
      mayStrip = false
      if first == UInt8(ascii: " ") { out.removeFirst() }
    }
    return String(decoding: out, as: UTF8.self)
  }
}

/// Calls of SentencePiece's Decode, one after the other, each given piece by piece.
struct SentencePieceText: Sendable {
  private let pieces: TokenizerPieces
  private let unknownSurface: [UInt8]
  private let removeExtraWhitespaces: Bool
  private var out: [UInt8] = []
  private var hasText = false
  private var bytes = TokenizerByteRun()
  /// Whether a call may begin with a prefix space, whether a space in front of the next piece is it, and whether it was
  /// taken.
  private let hasPrefix: Bool
  private var mayStrip: Bool
  private var stripped = false

  init(_ pieces: TokenizerPieces, dummyPrefix: Bool, removeExtraWhitespaces: Bool, unknownSurface: [UInt8]) {
    self.pieces = pieces
    self.unknownSurface = unknownSurface
    self.removeExtraWhitespaces = removeExtraWhitespaces
    hasPrefix = dummyPrefix || removeExtraWhitespaces
    mayStrip = hasPrefix
    out.reserveCapacity(tokenRoom)
  }

  /// Appends the text written since the last call.
  mutating func take(into text: inout [UInt8]) {
    hasText = hasText || !out.isEmpty
    text += out
    out.removeAll(keepingCapacity: true)
  }

  /// - Parameter id: of the piece; nil to look its text up, which may be the text of none.
  mutating func push(_ text: some Collection<UInt8>, id: Int32?) {
    let id = id ?? pieces.id(of: text)
    if let id, let value = pieces.byteValues[id] { return bytes.push(value, into: &out) }
    bytes.finish(into: &out)
    if stripped || hasText || !out.isEmpty { mayStrip = false }
    stripped = false
    guard let id else {
      out += text
      return
    }
    switch pieces.pieces[Int(id)].kind {
    case .control: break
    case .unknown: out += unknownSurface
    default:
      var text = text[...]
      if mayStrip, text.starts(with: TokenizerPieces.space) {
        text = text.dropFirst(TokenizerPieces.space.count)
        stripped = !removeExtraWhitespaces
      }
      TokenizerPieces.unescape(text, into: &out)
    }
  }

  mutating func finish() { bytes.finish(into: &out) }

  /// Begins another call; the text of the last one has been finished and taken.
  mutating func restart() { (hasText, mayStrip, stripped) = (false, hasPrefix, false) }
}

/// Bytes that become characters as soon as they can; each that cannot becomes U+FFFD.
struct TokenizerByteRun: Sendable {
  private var pending: [UInt8] = []

  init() { pending.reserveCapacity(4) }

  mutating func push(_ byte: UInt8, into out: inout [UInt8]) {
    pending.append(byte)
    while let first = pending.first, pending.count >= TokenizerPieces.length(of: first) { writeFirst(into: &out) }
  }

  mutating func finish(into out: inout [UInt8]) {
    while !pending.isEmpty { writeFirst(into: &out) }
  }

  private mutating func writeFirst(into out: inout [UInt8]) {
    // The slices must be gone when `pending` changes, or it would be copied.
    let count = min(TokenizerPieces.length(of: pending[0]), pending.count)
    if String(validating: pending[..<count], as: UTF8.self) != nil {
      out += pending[..<count]
      pending.removeFirst(count)
    } else {
      out += "\u{FFFD}".utf8
      pending.removeFirst()
    }
  }
}
