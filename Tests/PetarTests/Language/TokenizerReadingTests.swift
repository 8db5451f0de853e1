import Foundation
import Petar
import PetarConversion
import Testing

@Suite("Reading tokenizers of checkpoints") struct TokenizerReadingTests {
  @Test func tinyFolder() throws {
    let definition = try tinyTokenizerDefinition()
    #expect(definition.rules == .slowLegacy)
    #expect(definition.pieces.count == 1000)
    #expect(definition.addedTokens.map(\.id) == [0, 1, 2, 1000, 1001, 1002, 1003, 1004, 1005])
    #expect(definition.bos == 1 && definition.eos == 1000 && definition.unk == 0)
    #expect(definition.addBOS && definition.addDummyPrefix && !definition.removeExtraWhitespaces)
  }

  @Test func sentencePieceModelWins() throws {
    let definition = try withTokenizerFolder(changing: ["tokenizer.json": "=fast/prepend.json"]) {
      try readTokenizer(folder: $0)
    }
    #expect(definition.rules == .slowLegacy)
  }

  @Test func specialTokensThatNoFileNumbersComeLast() throws {
    let config: [String: Any] = ["eos_token": "<|endoftext|>", "additional_special_tokens": ["<im_patch>", "</s>"]]
    let definition = try withTokenizerFolder(
      changing: [
        "tokenizer_config.json": config, "added_tokens.json": NSNull(), "special_tokens_map.json": NSNull(),
      ]
    ) { try readTokenizer(folder: $0) }
    #expect(definition.addedTokens.map(\.text) == ["<unk>", "<s>", "</s>", "<|endoftext|>", "<im_patch>"])
    #expect(definition.addedTokens.map(\.id) == [0, 1, 2, 1000, 1001])
  }

  @Test func refusedByName() throws {
    let none = NSNull()
    let fast: [String: Any] = ["tokenizer.model": none]
    func json(_ edit: (inout [String: Any]) -> Void) throws -> [String: Any] {
      let file = tokenizerFixtures.appending(path: "fast/prepend.json")
      var root = try #require(try JSONSerialization.jsonObject(with: Data(contentsOf: file)) as? [String: Any])
      edit(&root)
      return fast.merging(["tokenizer.json": root]) { $1 }
    }
    func model(_ key: String, _ value: Any) throws -> [String: Any] {
      try json { root in
        var model = root["model"] as? [String: Any] ?? [:]
        model[key] = value
        root["model"] = model
      }
    }
    let config: (String, Any) -> [String: Any] = { ["tokenizer_config.json": [$0: $1]] }
    let cases: [([String: Any], Int, [String])] = [
      (fast, 40, ["tokenizer.model", "tokenizer.json"]),
      (["tokenizer.model": Data("not a model".utf8)], 41, ["tokenizer.model"]),
      (["tokenizer.model": Data()], 41, ["tokenizer.model", "no pieces"]),
      (["tokenizer.model": sentencePiece(type: 1)], 12, ["tokenizer.model", "unigram"]),
      (["tokenizer.model": sentencePiece(normalizer: [1: "nmt_nfkc", 2: "x"])], 12, ["tokenizer.model", "nmt_nfkc"]),
      (["tokenizer_config.json": Data("{\"a\": ".utf8)], 41, ["tokenizer_config.json", "byte 6"]),
      (config("tokenizer_class", "T5Tokenizer"), 12, ["tokenizer_config.json", "T5Tokenizer"]),
      (config("add_eos_token", true), 12, ["tokenizer_config.json", "add_eos_token"]),
      (config("added_tokens_decoder", ["-4": ["content": "x"]]), 41, ["tokenizer_config.json", "-4"]),
      (config("added_tokens_decoder", ["1": ["content": ""]]), 41, ["tokenizer_config.json", "no text"]),
      (try json { $0["pre_tokenizer"] = ["type": "ByteLevel"] }, 12, ["tokenizer.json", "byte-level BPE"]),
      (try json { $0["decoder"] = ["type": "ByteLevel"] }, 12, ["tokenizer.json", "byte-level BPE"]),
      (try json { $0["normalizer"] = ["type": "NFC"] }, 12, ["tokenizer.json", "NFC"]),
      (try json { $0["normalizer"] = none }, 12, ["tokenizer.json", "U+2581"]),
      (try model("type", "Unigram"), 12, ["tokenizer.json", "Unigram"]),
      (try model("ignore_merges", true), 12, ["tokenizer.json", "ignore_merges"]),
      (try model("merges", ["a"]), 41, ["tokenizer.json", "merge 0"]),
      (try model("merges", ["a nothing"]), 41, ["tokenizer.json", "merge 0"]),
      (try model("vocab", ["a": -1]), 41, ["tokenizer.json", "\"a\""]),
    ]
    for (files, status, words) in cases {
      let error = #expect(throws: PetarError.self, "\(words)") {
        try withTokenizerFolder(changing: files) { _ = try readTokenizer(folder: $0) }
      }
      #expect(error.map { Int($0.status.rawValue) } == status, "\(error?.message ?? "")")
      for word in words { #expect(error?.message.contains(word) == true, "\(error?.message ?? "")") }
    }
  }

  @Test func damagedModel() throws {
    let bytes = try Data(contentsOf: tokenizerFixtures.appending(path: "options.model"))
    var random = SplitMix64(seed: 9)
    for round in 0..<300 {
      var damaged = bytes
      if round % 2 == 0 {
        damaged = bytes.prefix(Int.random(in: 0..<bytes.count, using: &random))
      } else {
        damaged[Int.random(in: 0..<bytes.count, using: &random)] = UInt8.random(in: 0...255, using: &random)
      }
      do {
        _ = try withTokenizerFolder(changing: ["tokenizer.model": damaged]) { try readTokenizer(folder: $0) }
      } catch let error as PetarError {
        #expect([12, 41].contains(error.status.rawValue))
      }
    }
  }

  /// A model of one piece, as SentencePiece's protocol buffer.
  private func sentencePiece(type: UInt8 = 2, normalizer: [UInt8: String] = [:]) -> Data {
    func block(_ number: UInt8, _ bytes: [UInt8]) -> [UInt8] { [number << 3 | 2, UInt8(bytes.count)] + bytes }
    let piece = block(1, Array("<unk>".utf8)) + [3 << 3, 2]
    let fields = normalizer.sorted { $0.key < $1.key }.flatMap { block($0.key, Array($0.value.utf8)) }
    return Data(block(1, piece) + block(2, [3 << 3, type]) + block(3, fields))
  }
}
