import CPetar
import Foundation
import Petar
import PetarConversion

/// Trains a tokenizer on texts with SentencePiece's `spm_train` (Debian: sentencepiece), byte-pair encoding with byte
/// fallback and no normalization, as Llama's; adds the tokens for the end of the text and for images.
struct SentencePieceTraining {
  struct Tokens {
    let count: Int
    let endOfText: Int32
    let image: Int32
  }

  /// Tokens at most, added ones included.
  let vocabulary: Int

  private static let corpus = "texts.tmp"
  private static let added = ["<|endoftext|>", imageTokenText]

  /// Writes tokenizer.model and the files beside it. The same texts give the same bytes.
  /// - Throws: `PETAR_ERROR_UNSUPPORTED` when there is no spm_train, `PETAR_ERROR_IO` with what it said.
  func run(_ texts: [String], into folder: String) throws -> Tokens {
    let corpus = "\(folder)/\(Self.corpus)"
    try writeFile(Array(texts.joined(separator: "\n").utf8) + [10], path: corpus)
    defer { unlink(corpus) }
    try train(in: folder)
    let list = folder + "/tokenizer.vocab"
    defer { unlink(list) }
    guard let bytes = FileManager.default.contents(atPath: list) else {
      throw PetarError(PETAR_ERROR_IO, "cannot read \(list), which spm_train should have written")
    }
    let pieces = bytes.count { $0 == UInt8(ascii: "\n") }
    try writeSettings(pieces, folder)
    return Tokens(count: pieces + Self.added.count, endOfText: Int32(pieces), image: Int32(pieces + 1))
  }

  private func train(in folder: String) throws {
    let process = Process()
    // The model holds the names it was given: without a path they are the same for every run.
    process.currentDirectoryURL = URL(fileURLWithPath: folder)
    process.executableURL = URL(fileURLWithPath: "/usr/bin/env")
    process.arguments = [
      "spm_train", "--input=\(Self.corpus)", "--model_prefix=tokenizer", "--model_type=bpe",
      "--vocab_size=\(vocabulary - Self.added.count)", "--hard_vocab_limit=false", "--byte_fallback=true",
      "--character_coverage=1.0", "--normalization_rule_name=identity", "--remove_extra_whitespaces=false",
      "--split_digits=true", "--num_threads=1", "--input_sentence_size=0", "--max_sentence_length=100000",
    ]
    let said = Pipe()
    process.standardError = said
    process.standardOutput = FileHandle.nullDevice
    do {
      try process.run()
    } catch {
      throw PetarError(PETAR_ERROR_IO, "cannot start spm_train: \(error.localizedDescription)")
    }
    let words = String(decoding: said.fileHandleForReading.readDataToEndOfFile(), as: UTF8.self)
    process.waitUntilExit()
    guard process.terminationStatus != 127 else {
      throw PetarError(
        PETAR_ERROR_UNSUPPORTED, "spm_train is not there: install the package \"sentencepiece\" to train a tokenizer")
    }
    guard process.terminationStatus == 0 else {
      let last = words.split(separator: "\n").suffix(3).joined(separator: "\n")
      throw PetarError(PETAR_ERROR_IO, "spm_train could not train a tokenizer: \(last)")
    }
  }

  /// Of an added token, as Phi-3 has them.
  static let flags = [
    ("lstrip", false), ("normalized", false), ("rstrip", false), ("single_word", false), ("special", true),
  ]

  /// Named as Phi-3 has them.
  private func writeSettings(_ pieces: Int, _ folder: String) throws {
    func token(_ text: String) -> JSON {
      .object([("content", .string(text))] + Self.flags.map { ($0, .bool($1)) })
    }
    let all =
      ["<unk>", "<s>", "</s>"].enumerated().map { ("\($0)", token($1)) }
      + Self.added.enumerated().map { ("\(pieces + $0)", token($1)) }
    let names: [(String, JSON)] = [
      ("bos_token", .string("<s>")), ("eos_token", .string(Self.added[0])), ("pad_token", .string(Self.added[0])),
      ("unk_token", .string("<unk>")), ("additional_special_tokens", .array([.string(Self.added[1])])),
    ]
    let settings: [(String, JSON)] = [
      ("add_bos_token", .bool(true)), ("add_eos_token", .bool(false)), ("added_tokens_decoder", .object(all)),
      ("clean_up_tokenization_spaces", .bool(false)), ("legacy", .bool(true)), ("sp_model_kwargs", .object([])),
      ("tokenizer_class", .string("LlamaTokenizer")),
    ]
    let added = Self.added.enumerated().map { ($1, JSON.integer(pieces + $0)) }
    for (name, members) in [
      ("added_tokens.json", added), ("special_tokens_map.json", names), ("tokenizer_config.json", settings + names),
    ] {
      try writeFile(Array((JSON.object(members).text + "\n").utf8), path: "\(folder)/\(name)")
    }
  }
}
