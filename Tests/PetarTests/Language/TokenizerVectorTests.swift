import Foundation
import Petar
import PetarConversion
import Testing

private let slow = ["legacy", "modern", "flags", "modern_flags", "no_prefix", "old_files", "options", "modern_options"]
private let fast = ["fast_prepend", "fast_metaspace", "fast_flags"]

@Suite("Tokenizer against transformers, sentencepiece and tokenizers") struct TokenizerVectorTests {
  @Test(arguments: slow + fast) func encodesAsTheReference(name: String) throws {
    let vectors = try TokenizerVectors(name)
    let tokenizer = try Tokenizer(vectors.definition)
    #expect(vectors.encode.count == 250)
    for (text, ids, _, _) in vectors.encode {
      #expect(tokenizer.encode(text, addBOS: vectors.definition.addBOS) == ids, "\(name): \(text.debugDescription)")
    }
  }

  @Test(arguments: slow) func decodesAsTransformers(name: String) throws {
    let vectors = try TokenizerVectors(name)
    let tokenizer = try Tokenizer(vectors.definition)
    #expect(vectors.decode.count == 120)
    for (ids, decoded, withSpecial) in vectors.encode.map({ ($0.ids, $0.decoded, $0.withSpecial) }) + vectors.decode {
      let text = try tokenizer.decode(ids, keepSpecial: false)
      #expect(sameBytes(text, decoded), "\(name) \(ids): \(text.debugDescription), not \(decoded.debugDescription)")
      let all = try tokenizer.decode(ids, keepSpecial: true)
      #expect(
        sameBytes(all, withSpecial), "\(name) \(ids): \(all.debugDescription), not \(withSpecial.debugDescription)")
    }
  }

  /// Where bytes form no character a stream cannot do what `tokenizers` does (`FastDetokenizer`): left out.
  @Test(arguments: fast) func decodesAsTokenizers(name: String) throws {
    let vectors = try TokenizerVectors(name)
    let tokenizer = try Tokenizer(vectors.definition)
    let rows = vectors.encode.map { ($0.ids, $0.decoded, $0.withSpecial) } + vectors.decode
    let whole = rows.filter { !$0.1.unicodeScalars.contains("\u{FFFD}") && !$0.2.unicodeScalars.contains("\u{FFFD}") }
    #expect(whole.count > 200)
    for (ids, decoded, withSpecial) in whole {
      let text = try tokenizer.decode(ids, keepSpecial: false)
      #expect(sameBytes(text, decoded), "\(name) \(ids): \(text.debugDescription), not \(decoded.debugDescription)")
      let all = try tokenizer.decode(ids, keepSpecial: true)
      #expect(
        sameBytes(all, withSpecial), "\(name) \(ids): \(all.debugDescription), not \(withSpecial.debugDescription)")
    }
  }

  /// llama.cpp's vocabulary vectors, made with transformers from the checkpoints' own tokenizers.
  @Test(
    .enabled(if: tokenizerData != nil, "PETAR_TEST_DATA has no tokenizer folder"), arguments: ["phi-3", "llama-spm"])
  func publishedVocabularies(name: String) throws {
    let folder = try #require(tokenizerData)
    let file = folder.appending(path: "ggml-vocab-\(name).gguf")
    let texts = try String(contentsOf: file.appendingPathExtension("inp"), encoding: .utf8)
      .components(separatedBy: "\n__ggml_vocab_test__\n").dropLast()
    let lines = try String(contentsOf: file.appendingPathExtension("out"), encoding: .utf8)
      .components(separatedBy: "\n").dropLast()
    #expect(texts.count == 46 && lines.count == 46)
    var definitions = [try tokenizerDefinition(gguf: file)]
    if name == "phi-3" { definitions.append(try withPhi3Folder { try readTokenizer(folder: $0) }) }
    for definition in definitions {
      let tokenizer = try Tokenizer(definition)
      #expect(tokenizer.count >= 32000)
      for (text, line) in zip(texts, lines) {
        let expected = line.split(separator: " ").compactMap { Int32($0) }
        #expect(tokenizer.encode(text, addBOS: false) == expected, "\(name): \(text.debugDescription)")
        // Decoding takes up to two spaces away in front (transformers one, SentencePiece another).
        let decoded = try tokenizer.decode(expected, keepSpecial: false)
        #expect(sameBytes(text, decoded) || sameBytes(text, " " + decoded), "\(name): \(text.debugDescription)")
      }
    }
  }

  @Test(.enabled(if: tokenizerData != nil, "PETAR_TEST_DATA has no tokenizer folder"))
  func promptOfThePaper() throws {
    let definition = try withPhi3Folder { try readTokenizer(folder: $0) }
    let tokenizer = try Tokenizer(definition, vocabulary: 32064)
    let question = "Please describe the region highlighted in the PET image."
    let image = try #require(tokenizer.id(of: "<im_patch>"))
    #expect(image == 32001)
    let ids = tokenizer.encode(String(repeating: "<im_patch>", count: 256) + question, addBOS: true)
    #expect(ids == [1] + Array(repeating: image, count: 256) + tokenizer.encode(question, addBOS: false))
    #expect(try tokenizer.decode(ids, keepSpecial: false) == question)
    #expect(try tokenizer.decode([32063], keepSpecial: true) == "")
  }
}

private let tokenizerData: URL? = {
  let root = ProcessInfo.processInfo.environment["PETAR_TEST_DATA"] ?? "../shared/data"
  let folder = URL(filePath: root).appending(path: "tokenizer")
  return FileManager.default.fileExists(atPath: folder.appending(path: "phi-3.tokenizer.model").path) ? folder : nil
}()

/// The Phi-3 SentencePiece model with the flags of a PETAR checkpoint.
private func withPhi3Folder<T>(_ body: (String) throws -> T) throws -> T {
  let model = try Data(contentsOf: #require(tokenizerData).appending(path: "phi-3.tokenizer.model"))
  let config: [String: Any] = [
    "bos_token": "<s>", "eos_token": "<|endoftext|>", "unk_token": "<unk>", "legacy": true,
    "additional_special_tokens": ["<im_patch>", "<bx_start>", "<bx_end>"],
  ]
  return try withTokenizerFolder(
    changing: [
      "tokenizer.model": model, "tokenizer_config.json": config, "special_tokens_map.json": NSNull(),
      "added_tokens.json": NSNull(),
    ], body)
}
