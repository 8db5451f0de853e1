import CPetar

/// What a checkpoint says about its tokenizer: SentencePiece BPE pieces, added tokens, and whose rules apply.
package struct TokenizerDefinition: Sendable, Equatable {
  /// The implementation whose ids and text count. They differ in where a space is put in front of text, and in
  /// what an added token does to the spaces around it.
  package enum Rules: UInt8, Sendable {
    /// transformers' slow LlamaTokenizer, `legacy=True`: every stretch of text between added tokens gets its own
    /// prefix space.
    case slowLegacy = 1
    /// The same, `legacy=False`: one prefix space, in front of the whole text.
    case slow = 2
    /// `tokenizers` (tokenizer.json): merges have ranks, `prefix` says where a space is put.
    case fast = 3
  }

  package struct Piece: Sendable, Equatable {
    /// SentencePiece's types, with its numbers.
    package enum Kind: UInt8, Sendable {
      case normal = 1
      case unknown = 2
      case control = 3
      /// Always a piece of its own: never merged with its neighbours.
      case userDefined = 4
      /// Known, but taken apart again when it comes out of merging. With an empty text: an id without a piece.
      case unused = 5
      /// "<0x00>"..."<0xFF>".
      case byte = 6
    }
    /// Spaces are written U+2581.
    package var text: String
    /// Pieces with a higher score are merged first.
    package var score: Float
    package var kind: Kind

    package init(_ text: String, score: Float = 0, kind: Kind = .normal) {
      self.text = text
      self.score = score
      self.kind = kind
    }
  }

  /// A token that is cut out of the text before anything else happens to it.
  package struct AddedToken: Sendable, Equatable {
    package var text: String
    package var id: Int32
    /// Left out of decoded text unless asked for.
    package var special = false
    /// Slow rules: set off by spaces in decoded text although special ("additional special tokens").
    package var additional = false
    /// Takes the white space on its left (right) with it.
    package var lstrip = false
    package var rstrip = false
    /// Only where no word goes on to the left or right.
    package var singleWord = false
    /// Fast rules: looked for after spaces were replaced and prefixed, not before.
    package var normalized = false

    package init(_ text: String, id: Int32) {
      self.text = text
      self.id = id
    }
  }

  /// Two pieces that become one; the position in the list is the rank. Fast rules only.
  package struct Merge: Sendable, Equatable {
    package var left: Int32
    package var right: Int32
    package init(_ left: Int32, _ right: Int32) {
      self.left = left
      self.right = right
    }
  }

  /// Fast rules: where U+2581 is put in front.
  package enum Prefix: UInt8, Sendable {
    case none = 0
    /// Every stretch of text between added tokens (normalizer Prepend).
    case everyStretch = 1
    /// The text, unless it starts with an added token or a space (Metaspace, "first").
    case first = 2
    /// Every stretch that does not start with a space (Metaspace, "always").
    case always = 3
  }

  package var rules = Rules.slowLegacy
  package var pieces: [Piece] = []
  package var addedTokens: [AddedToken] = []
  package var merges: [Merge] = []
  package var bos: Int32?
  package var eos: Int32?
  package var unk: Int32?
  /// The checkpoint's own default for begin-of-text; `encode` is told by its caller.
  package var addBOS = true
  /// SentencePiece puts a space in front of what it is given.
  package var addDummyPrefix = true
  package var removeExtraWhitespaces = false
  /// Characters without a piece become bytes instead of the unknown piece.
  package var byteFallback = true
  /// transformers' `add_prefix_space`: decoding takes the prefix space away again.
  package var addPrefixSpace = true
  /// What SentencePiece writes for the unknown piece.
  package var unknownSurface = " \u{2047} "
  package var prefix = Prefix.none
  /// Fast rules: unknown characters in a row are one unknown token.
  package var fuseUnknown = false

  package init() {}

  /// One more than the highest id.
  package var count: Int { max(pieces.count, addedTokens.reduce(0) { max($0, Int($1.id) + 1) }) }
}

extension TokenizerDefinition {
  /// Most ids, and most bytes in the text of one of them.
  package static let maximumCount = 1 << 22
  package static let maximumTextLength = 256

  /// Refuses numbers that no tokenizer can be built from.
  package func validate(source: String) throws {
    func require(_ holds: Bool, _ what: @autoclosure () -> String) throws {
      guard holds else { throw PetarError(PETAR_ERROR_BAD_FILE, "\(source): \(what())") }
    }
    try require((1...Self.maximumCount).contains(pieces.count), "\(pieces.count) pieces are none or too many")
    for (id, piece) in pieces.enumerated() {
      try require(piece.score.isFinite, "piece \(id) has a score that is not a number")
      try require(piece.text.utf8.count <= Self.maximumTextLength, "the text of piece \(id) is too long")
      try require(!piece.text.isEmpty || piece.kind == .unused, "piece \(id) has no text")
    }
    var ids = Set<Int32>()
    for token in addedTokens {
      try require(token.id >= 0 && token.id < Self.maximumCount, "added token \(token.id) has an id out of range")
      try require(ids.insert(token.id).inserted, "two added tokens have the id \(token.id)")
      try require(
        !token.text.isEmpty && token.text.utf8.count <= Self.maximumTextLength,
        "the text of added token \(token.id) is empty or too long")
    }
    for (name, id) in [("begin-of-text", bos), ("end-of-text", eos), ("unknown", unk)] {
      guard let id else { continue }
      try require(id >= 0 && id < count, "the \(name) token \(id) lies outside the vocabulary of \(count)")
    }
    for merge in merges {
      try require(
        pieces.indices.contains(Int(merge.left)) && pieces.indices.contains(Int(merge.right)),
        "a merge names a piece outside the vocabulary")
    }
    try require(unknownSurface.utf8.count <= Self.maximumTextLength, "the text for unknown pieces is too long")
  }
}
