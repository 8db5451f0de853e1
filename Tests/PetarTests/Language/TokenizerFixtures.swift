import Foundation
import Petar
import PetarConversion

/// Texts, ids and decoded texts that transformers, sentencepiece and `tokenizers` made (Tests/Fixtures/make_tokenizer.py).
struct TokenizerVectors {
  var encode: [(text: String, ids: [Int32], decoded: String, withSpecial: String)] = []
  var decode: [(ids: [Int32], decoded: String, withSpecial: String)] = []
  var definition = TokenizerDefinition()

  init(_ name: String) throws {
    let file = tokenizerFixtures.appending(path: "vectors/\(name).json")
    guard let root = try JSONSerialization.jsonObject(with: Data(contentsOf: file)) as? [String: Any] else {
      throw CocoaError(.fileReadCorruptFile)
    }
    for row in root["encode"] as? [[Any]] ?? [] {
      if let text = row[0] as? String, let ids = row[1] as? [Int], let decoded = row[2] as? String,
        let withSpecial = row[3] as? String
      {
        encode.append((text, ids.map { Int32($0) }, decoded, withSpecial))
      }
    }
    for row in root["decode"] as? [[Any]] ?? [] {
      if let ids = row[0] as? [Int], let decoded = row[1] as? String, let withSpecial = row[2] as? String {
        decode.append((ids.map { Int32($0) }, decoded, withSpecial))
      }
    }
    definition = try withTokenizerFolder(changing: root["files"] as? [String: Any] ?? [:]) {
      try readTokenizer(folder: $0)
    }
  }
}

let tokenizerFixtures = URL(filePath: #filePath).appending(path: "../../../Fixtures/tokenizer").standardized

/// A copy of the tiny tokenizer folder with some files replaced: by JSON, by a fixture ("=name"), by raw bytes, or
/// by nothing (null).
func withTokenizerFolder<T>(changing files: [String: Any], _ body: (String) throws -> T) throws -> T {
  let manager = FileManager.default
  let folder = manager.temporaryDirectory.appending(path: "petar-tokenizer-\(UUID().uuidString)")
  try manager.copyItem(at: tokenizerFixtures.appending(path: "tiny"), to: folder)
  defer { try? manager.removeItem(at: folder) }
  for (name, content) in files {
    let file = folder.appending(path: name)
    try? manager.removeItem(at: file)
    if let name = content as? String {
      try manager.copyItem(at: tokenizerFixtures.appending(path: String(name.dropFirst())), to: file)
    } else if let bytes = content as? Data {
      try bytes.write(to: file)
    } else if !(content is NSNull) {
      try JSONSerialization.data(withJSONObject: content).write(to: file)
    }
  }
  return try body(folder.path)
}

/// The tiny tokenizer as it is.
func tinyTokenizerDefinition() throws -> TokenizerDefinition {
  try readTokenizer(folder: tokenizerFixtures.appending(path: "tiny").path)
}

/// Byte for byte; `==` on strings would take canonically equivalent ones for equal.
func sameBytes(_ a: String, _ b: String) -> Bool { a.utf8.elementsEqual(b.utf8) }

/// The tokenizer in a GGUF file's metadata (arrays tokenizer.ggml.tokens, .scores and .token_type), and only that.
func tokenizerDefinition(gguf file: URL) throws -> TokenizerDefinition {
  try [UInt8](Data(contentsOf: file)).withUnsafeBytes { bytes in
    var reader = ByteReader(bytes, source: file.lastPathComponent)
    _ = try reader.take(4 + 4 + 8)
    var texts: [String] = []
    var scores: [Float] = []
    var kinds: [Int32] = []
    func string() throws -> String {
      String(decoding: try reader.take(Int(try reader.integer(UInt64.self))), as: UTF8.self)
    }
    func value(_ type: UInt32, _ key: String) throws {
      switch type {
      case 0, 1, 7: _ = try reader.take(1)
      case 2, 3: _ = try reader.take(2)
      case 4: _ = try reader.take(4)
      case 5:
        let value: Int32 = try reader.integer()
        if key == "tokenizer.ggml.token_type" { kinds.append(value) }
      case 6:
        let value = try reader.float()
        if key == "tokenizer.ggml.scores" { scores.append(value) }
      case 8:
        let value = try string()
        if key == "tokenizer.ggml.tokens" { texts.append(value) }
      case 9:
        let element: UInt32 = try reader.integer()
        for _ in 0..<(try reader.integer(UInt64.self)) { try value(element, key) }
      default: _ = try reader.take(8)
      }
    }
    for _ in 0..<(try reader.integer(UInt64.self)) {
      let key = try string()
      try value(try reader.integer(), key)
    }
    var definition = TokenizerDefinition()
    for ((text, score), kind) in zip(zip(texts, scores), kinds) {
      let kind = TokenizerDefinition.Piece.Kind(rawValue: UInt8(kind)) ?? .normal
      // After the SentencePiece model's own pieces come added tokens and padding, which the vectors do not touch.
      let isPiece = definition.pieces.count < 32000
      definition.pieces.append(isPiece ? .init(text, score: score, kind: kind) : .init("", kind: .unused))
    }
    return definition
  }
}
