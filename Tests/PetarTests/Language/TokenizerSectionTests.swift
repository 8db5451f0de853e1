import Foundation
import Petar
import PetarConversion
import Testing

@Suite("Tokenizer section of a .petar file") struct TokenizerSectionTests {
  @Test(arguments: ["legacy", "modern_flags", "options", "fast_prepend"])
  func roundTrip(name: String) throws {
    let definition = try TokenizerVectors(name).definition
    let bytes = written(definition)
    #expect(try read(bytes) == definition)
    // Every text, byte for byte: `==` is too kind.
    #expect(written(try read(bytes)) == bytes)
  }

  @Test func truncatedAnywhere() throws {
    let bytes = written(try smallDefinition())
    for count in 0..<bytes.count {
      #expect(throws: PetarError.self, "first \(count) bytes") { try read(Array(bytes.prefix(count))) }
    }
  }

  /// A damaged section is refused or gives a tokenizer that works; it never traps.
  @Test(arguments: ["legacy", "options", "fast_prepend"])
  func damagedAnywhere(name: String) throws {
    let bytes = written(try smallDefinition(name))
    var random = SplitMix64(seed: 5)
    var refused = 0
    for round in 0..<5000 {
      var damaged = bytes
      for _ in 0...(round % 3) {
        damaged[Int.random(in: 0..<bytes.count, using: &random)] = UInt8.random(in: 0...255, using: &random)
      }
      do {
        let tokenizer = try Tokenizer(try read(damaged))
        let ids = tokenizer.encode(" a  b<s>the SUVmax🦙 [SEG] \n<|end|> x", addBOS: true)
        _ = try tokenizer.decode(ids, keepSpecial: true)
        _ = try tokenizer.decode(ids.reversed(), keepSpecial: false)
      } catch let error as PetarError {
        #expect(error.status.rawValue == 41)
        refused += 1
      }
    }
    #expect(refused > 500)
  }

  @Test func countsThatOverflow() throws {
    var bytes = written(try smallDefinition())
    // rules, prefix, flags, three ids, the unknown text (4 + 5 bytes), then the number of pieces.
    let position = 3 + 12 + 4 + 5
    bytes.replaceSubrange(position..<(position + 4), with: [0xFF, 0xFF, 0xFF, 0xFF])
    let error = #expect(throws: PetarError.self) { try read(bytes) }
    #expect(error?.message.contains("4294967295") == true)
  }

  private func written(_ definition: TokenizerDefinition) -> [UInt8] {
    var writer = ByteWriter()
    definition.write(to: &writer)
    return writer.bytes
  }

  private func read(_ bytes: [UInt8]) throws -> TokenizerDefinition {
    try bytes.withUnsafeBytes {
      var reader = ByteReader($0, source: "tokenizer section")
      return try TokenizerDefinition(from: &reader)
    }
  }

  /// Few pieces, so that every part of the section is damaged often.
  private func smallDefinition(_ name: String = "legacy") throws -> TokenizerDefinition {
    var definition = try TokenizerVectors(name).definition
    let kept = name == "legacy" ? 275 : 40
    definition.pieces.removeSubrange(kept...)
    definition.merges = []
    if name == "fast_prepend" {
      definition.pieces = [.init("<unk>"), .init("a"), .init("b"), .init("ab"), .init("\u{2581}")]
      definition.unk = 0
      definition.merges = [.init(1, 2)]
    }
    return definition
  }
}
