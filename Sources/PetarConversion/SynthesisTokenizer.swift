import Petar

/// A vocabulary of made-up words that fills any size: what a synthetic model reads and writes.
///
/// Bytes, then every string of small letters in the order of length, with and without a space in front. Any text can
/// be encoded, any id has a text, and " abc" is one token if the vocabulary is large enough.
struct SynthesisTokenizer {
  let definition: TokenizerDefinition
  /// <im_patch>
  let imageToken: Int32
  /// <|endoftext|>, the first id behind the pieces.
  let endOfText: Int32

  /// - Parameter vocabulary: ids to fill, at least 512.
  init(vocabulary: Int) {
    typealias Piece = TokenizerDefinition.Piece
    // Phi-3 has 32000 pieces of 32064 ids; the rest are added tokens.
    let added = ["<|endoftext|>", "<im_patch>", "<bx_start>", "<bx_end>", "[SEG]"]
    let pieceCount = vocabulary - 64
    var pieces = [
      Piece("<unk>", kind: .unknown), Piece("<s>", kind: .control), Piece("</s>", kind: .control),
    ]
    pieces += (0..<256).map { Piece("<0x" + hexadecimal([UInt8($0)]).uppercased() + ">", kind: .byte) }

    // A piece can be merged only from pieces: every beginning of a word is one, and comes first.
    let letters = (UInt8(ascii: "a")...UInt8(ascii: "z")).map { String(UnicodeScalar($0)) }
    var words = ["\u{2581}"] + letters
    var next = 0
    while pieces.count < pieceCount {
      let word = words[next]
      next += 1
      pieces.append(Piece(word, score: -Float(next)))
      if words.count < pieceCount { words += letters.map { word + $0 } }
    }

    var definition = TokenizerDefinition()
    definition.pieces = pieces
    definition.addedTokens = added.enumerated().map { index, text in
      var token = TokenizerDefinition.AddedToken(text, id: Int32(pieceCount + index))
      token.special = true
      return token
    }
    definition.unk = 0
    definition.bos = 1
    definition.eos = Int32(pieceCount)
    self.definition = definition
    endOfText = Int32(pieceCount)
    imageToken = Int32(pieceCount + 1)
  }
}
