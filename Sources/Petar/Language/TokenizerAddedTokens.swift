/// Cuts added tokens out of text.
struct TokenizerAddedTokens: Sendable {
  /// A stretch of text, or an added token in it.
  struct Stretch {
    var text: [UInt8]
    var token: Int32?
  }

  let tokens: [TokenizerDefinition.AddedToken]
  /// Positions in `tokens` by text and by id.
  private let byText: TokenizerIndex
  private let byID: [Int32: Int32]
  private let trie: TokenizerTrie

  /// nil when two tokens have the same text, or when there are too many.
  init?(_ tokens: [TokenizerDefinition.AddedToken], spelled: (String) -> [UInt8] = { Array($0.utf8) }) {
    self.tokens = tokens
    var byText = TokenizerIndex(capacity: tokens.count)
    var byID: [Int32: Int32] = [:]
    var trie = TokenizerTrie()
    for (position, token) in tokens.enumerated() {
      let position = Int32(truncatingIfNeeded: position)
      guard byText.insert(token.text, id: position), trie.insert(spelled(token.text), id: position) else { return nil }
      byID[token.id] = position
    }
    self.byText = byText
    self.byID = byID
    self.trie = trie
  }

  func token(_ id: Int32) -> TokenizerDefinition.AddedToken? { byID[id].map { tokens[Int($0)] } }

  func token(of text: some Collection<UInt8>) -> TokenizerDefinition.AddedToken? {
    byText.find(text).map { tokens[Int($0)] }
  }

  /// Positions of added tokens in the text, leftmost first, the longest of those that begin at a place.
  private func matches(in text: [UInt8]) -> [(range: Range<Int>, token: Int)] {
    guard !trie.isEmpty else { return [] }
    return text.withUnsafeBytes { text in
      var found: [(range: Range<Int>, token: Int)] = []
      var position = 0
      while position < text.count {
        if let match = trie.longestMatch(in: text, at: position) {
          found.append((position..<(position + match.length), Int(match.id)))
          position += match.length
        } else {
          position += 1
        }
      }
      return found
    }
  }

  /// As the slow tokenizer does it: the text is cut at the tokens first; then each token takes white space from
  /// its neighbours, or is given back to them if it must be a word of its own.
  func splitSlowly(_ text: [UInt8]) -> [Stretch] {
    var parts: [[UInt8]] = []
    var end = 0
    for (range, _) in matches(in: text) {
      if end < range.lowerBound { parts.append(Array(text[end..<range.lowerBound])) }
      parts.append(Array(text[range]))
      end = range.upperBound
    }
    if end < text.count { parts.append(Array(text[end...])) }

    // The neighbours are changed while the walk goes on, and what they have become is what is looked up.
    let blank = UInt8(ascii: " ")
    for i in parts.indices {
      guard let token = self.token(of: parts[i]) else { continue }
      let hasLeft = i > 0 && !parts[i - 1].isEmpty
      let hasRight = i + 1 < parts.count && !parts[i + 1].isEmpty
      let right = hasRight ? parts[i + 1].first : nil
      let left = hasLeft ? parts[i - 1].last : nil
      if token.rstrip, hasRight { parts[i + 1].removeFirst(whitespacePrefix(parts[i + 1][...], pythonSpaces: true)) }
      if token.lstrip, hasLeft { parts[i - 1].removeLast(whitespaceSuffix(parts[i - 1][...], pythonSpaces: true)) }
      guard token.singleWord else { continue }
      if let left, left != blank {
        parts[i - 1] += parts[i]
        parts[i] = []
      } else if let right, right != blank {
        parts[i + 1] = parts[i] + parts[i + 1]
        parts[i] = []
      }
    }
    return parts.filter { !$0.isEmpty }.map { Stretch(text: $0, token: self.token(of: $0)?.id) }
  }

  /// As `tokenizers` does it: white space that a token takes becomes part of it.
  func splitFast(_ text: [UInt8]) -> [Stretch] {
    var stretches: [Stretch] = []
    var end = 0
    // Where the white space behind the last token that takes it ends: tokens may lie in it, and are not to look again.
    var spaceEnd = 0
    for (range, index) in matches(in: text) {
      let token = tokens[index]
      // A token that begins with white space may have lost it to the one before.
      let before = text[min(end, range.lowerBound)..<range.lowerBound]
      let after = text[range.upperBound...]
      if token.singleWord, wordEnds(text[..<range.lowerBound]) || wordStarts(after) { continue }
      let taken = token.lstrip ? whitespaceSuffix(before, pythonSpaces: false) : 0
      if taken < before.count { stretches.append(Stretch(text: Array(before.dropLast(taken)))) }
      stretches.append(Stretch(text: Array(text[range]), token: token.id))
      end = range.upperBound
      guard token.rstrip else { continue }
      if spaceEnd < end { spaceEnd = end + whitespacePrefix(after, pythonSpaces: false) }
      end = spaceEnd
    }
    if end < text.count { stretches.append(Stretch(text: Array(text[end...]))) }
    return stretches
  }
}

/// Bytes of white space in front of (behind) text. Python's `str.strip` takes U+001C...U+001F too.
private func whitespacePrefix(_ text: ArraySlice<UInt8>, pythonSpaces: Bool) -> Int {
  var rest = text
  while let first = firstScalar(rest), isSpace(first, pythonSpaces: pythonSpaces) {
    rest = rest.dropFirst(UTF8.width(first))
  }
  return text.count - rest.count
}

private func whitespaceSuffix(_ text: ArraySlice<UInt8>, pythonSpaces: Bool) -> Int {
  var rest = text
  while let last = lastScalar(rest), isSpace(last, pythonSpaces: pythonSpaces) {
    rest = rest.dropLast(UTF8.width(last))
  }
  return text.count - rest.count
}

private func firstScalar(_ text: ArraySlice<UInt8>) -> Unicode.Scalar? {
  String(decoding: text.prefix(4), as: UTF8.self).unicodeScalars.first
}

private func lastScalar(_ text: ArraySlice<UInt8>) -> Unicode.Scalar? {
  String(decoding: text.suffix(4), as: UTF8.self).unicodeScalars.last
}

private func isSpace(_ scalar: Unicode.Scalar, pythonSpaces: Bool) -> Bool {
  scalar.properties.isWhitespace || (pythonSpaces && (0x1C...0x1F).contains(scalar.value))
}

/// Whether the character next to a token goes on with a word (`\w` of the regex crate).
private func wordEnds(_ text: ArraySlice<UInt8>) -> Bool {
  lastScalar(text).map(isWord) ?? false
}

private func wordStarts(_ text: ArraySlice<UInt8>) -> Bool {
  firstScalar(text).map(isWord) ?? false
}

private func isWord(_ scalar: Unicode.Scalar) -> Bool {
  switch scalar.properties.generalCategory {
  case .nonspacingMark, .spacingMark, .enclosingMark, .decimalNumber, .connectorPunctuation: true
  default: scalar.properties.isAlphabetic || scalar.properties.isJoinControl
  }
}
