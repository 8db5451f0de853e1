import Foundation
import Petar
import PetarConversion
import Testing

@Suite("Tokenizer") struct TokenizerTests {
  @Test func promptOfATinyCheckpoint() throws {
    let tokenizer = try Tokenizer(try tinyTokenizerDefinition())
    #expect(tokenizer.count == 1006)
    let question = "Please describe the region highlighted in the PET image."
    let ids = tokenizer.encode(String(repeating: "<im_patch>", count: 8) + question, addBOS: true)
    #expect(ids.prefix(10) == [1, 1002, 1002, 1002, 1002, 1002, 1002, 1002, 1002, 351])
    #expect(try tokenizer.decode(ids, keepSpecial: false) == question)
    #expect(tokenizer.encode("", addBOS: true) == [1])
    #expect(tokenizer.encode("", addBOS: false) == [])
  }

  @Test func textOfAnID() throws {
    let tokenizer = try Tokenizer(try tinyTokenizerDefinition())
    #expect(tokenizer.id(of: "<im_patch>") == 1002)
    #expect(tokenizer.id(of: "[SEG]") == 1005)
    #expect(tokenizer.id(of: "<0x0A>") == 13)
    #expect(tokenizer.id(of: "no such piece") == nil)
  }

  @Test func idsOutsideTheVocabulary() throws {
    let definition = try tinyTokenizerDefinition()
    let tokenizer = try Tokenizer(definition, vocabulary: 1024)
    #expect(tokenizer.count == 1024)
    // Padded rows have no text; what lies beyond them is the caller's mistake.
    #expect(try tokenizer.decode([1006, 351, 1023], keepSpecial: true) == "Please")
    for id: Int32 in [-1, 1024, .max, .min] {
      let error = #expect(throws: PetarError.self) { try tokenizer.decode([351, id], keepSpecial: false) }
      #expect(error?.status.rawValue == 60)
      #expect(error?.message.contains("1024") == true)
    }
    #expect(throws: PetarError.self) { try Tokenizer(definition, vocabulary: 1005) }
  }

  /// A stream is what decode gives, never a part of a character, for random ids under every set of rules.
  @Test(arguments: ["legacy", "modern", "flags", "options", "fast_prepend"])
  func streamEqualsDecode(name: String) throws {
    let tokenizer = try Tokenizer(try TokenizerVectors(name).definition, vocabulary: 1024)
    var random = SplitMix64(seed: 11)
    let emoji = tokenizer.encode("🦙é中", addBOS: false)
    for _ in 0..<3000 {
      var ids: [Int32] = []
      for _ in 0..<Int.random(in: 0...16, using: &random) {
        switch Int.random(in: 0..<4, using: &random) {
        case 0: ids.append(Int32.random(in: 3..<259, using: &random))
        case 1: ids.append(Int32.random(in: 990..<1024, using: &random))
        case 2: ids.append(contentsOf: emoji.prefix(Int.random(in: 0...emoji.count, using: &random)))
        default: ids.append(Int32.random(in: 0..<1024, using: &random))
        }
      }
      var stream = StreamDecoder(tokenizer)
      let chunks = ids.map { stream.push($0) } + [stream.finish()]
      let whole = try tokenizer.decode(ids, keepSpecial: false)
      #expect(sameBytes(chunks.joined(), whole), "\(ids)")
    }
  }

  @Test func streamHoldsACharacterBack() throws {
    let tokenizer = try Tokenizer(try tinyTokenizerDefinition())
    var stream = StreamDecoder(tokenizer)
    // The bytes of U+1F999, each a token of its own; then a byte that nothing follows.
    let pushed = [0xF0, 0x9F, 0xA6, 0x99, 0xE2].map { stream.push(Int32(3 + $0)) }
    #expect(pushed == ["", "", "", "🦙", ""])
    #expect(stream.finish() == "\u{FFFD}")
  }

  /// A megabyte of what makes a careless tokenizer quadratic. It has the ids of a short text, whose middle comes again and
  /// again.
  @Test(.timeLimit(.minutes(2)), arguments: ["legacy", "options", "fast_flags"])
  func longTexts(name: String) throws {
    let tokenizer = try Tokenizer(try TokenizerVectors(name).definition)
    for unit in [" ", "<", "<|end|> ", "the region", "<bx_start>a"] {
      func ids(_ times: Int) -> [Int32] {
        tokenizer.encode(String(repeating: unit, count: 512 * times), addBOS: false)
      }
      let (one, two, times) = (ids(1), ids(2), 1_000_000 / (512 * unit.utf8.count))
      let half = one.count / 2
      let middle = two[half..<(two.count - one.count + half)]
      let expected = one[..<half] + repeatElement(middle, count: times - 1).joined() + one[half...]
      #expect(ids(times) == Array(expected), "\(unit)")
      #expect(!one.isEmpty || unit == " ")
    }
  }

  /// A token of white space that takes white space: those that lie in what the first one has taken are tokens all the
  /// same. Long runs give what short ones do, and in no more than proportional time.
  @Test(.timeLimit(.minutes(1)))
  func runsOfWhiteSpaceTokens() throws {
    var definition = TokenizerDefinition()
    definition.rules = .fast
    definition.byteFallback = false
    definition.pieces = [.init("<unk>", kind: .unknown), .init("a")]
    definition.addedTokens = [.init(" ", id: 2), .init("\t", id: 3)]
    definition.addedTokens[0].rstrip = true
    let tokenizer = try Tokenizer(definition)
    func ids(_ text: String) -> [Int32] { tokenizer.encode(text, addBOS: false) }
    #expect(ids("a a") == [1, 2, 1])
    #expect(ids(" \n a") == [2, 2, 1])
    #expect(ids("a  \t a") == [1, 2, 2, 3, 2, 1])
    for count in [3, 400_000] {
      #expect(ids(String(repeating: " ", count: count) + "a") == [Int32](repeating: 2, count: count) + [1])
      #expect(
        ids(String(repeating: " \t", count: count) + "a") == (0..<2 * count).map { $0 % 2 == 0 ? 2 : 3 } + [1])
    }
  }

  @Test func bestScoreFirstThenLeftmost() throws {
    var definition = TokenizerDefinition()
    definition.byteFallback = false
    definition.addDummyPrefix = false
    definition.pieces = [
      .init("<unk>", kind: .unknown), .init("a"), .init("b"), .init("c"), .init("aa", score: -1),
      .init("ab", score: -2), .init("bc", score: -1), .init("XY", kind: .userDefined), .init("cX", score: 5),
    ]
    let tokenizer = try Tokenizer(definition)
    #expect(tokenizer.encode("aaa", addBOS: false) == [4, 1])
    #expect(tokenizer.encode("abc", addBOS: false) == [1, 6])
    #expect(tokenizer.encode("abb", addBOS: false) == [5, 2])
    // User-defined pieces do not merge; unknown characters in a row are one token.
    #expect(tokenizer.encode("cXYzza", addBOS: false) == [3, 7, 0, 1])
  }

  @Test func canonicallyEquivalentTextsAreDifferent() throws {
    var definition = TokenizerDefinition()
    definition.byteFallback = false
    definition.addDummyPrefix = false
    definition.pieces = [.init("<unk>", kind: .unknown), .init("\u{C5}"), .init("\u{212B}")]
    definition.addedTokens = [.init("e\u{301}", id: 3), .init("\u{E9}", id: 4)]
    let tokenizer = try Tokenizer(definition)
    #expect(tokenizer.encode("\u{C5}\u{212B}e\u{301}\u{E9}", addBOS: false) == [1, 2, 3, 4])
  }
}
