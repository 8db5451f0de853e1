import Foundation
import Petar
import PetarConversion
import Synchronization

/// A .petar file of a few pages, made by the writer, and the tools to damage it.
enum SmallPetarFile {
  static var description: ModelDescription {
    var model = ModelDescription()
    model.name = "small"
    model.views.extent = ModelDescription.Extent(4, 4, 4)
    model.vision.patch = ModelDescription.Extent(2, 2, 2)
    model.vision.pool = ModelDescription.Extent(2, 2, 2)
    model.vision.width = 64
    model.vision.layers = 1
    model.vision.mlpWidth = 32
    model.projector.layers = 1
    model.decoder.family = "llama"
    model.decoder.vocabulary = 8
    model.decoder.width = 8
    model.decoder.layers = 1
    model.decoder.heads = 2
    model.decoder.keyValueHeads = 1
    model.decoder.headWidth = 4
    model.decoder.ffnWidth = 12
    model.decoder.context = 64
    model.prompt.imageToken = 3
    model.prompt.question = "What is it?"
    model.prompt.maxTokens = 16
    model.prompt.endOfText = [2]
    model.provenance.licence = "not stated"
    return model
  }

  static var tokenizer: TokenizerDefinition {
    var tokenizer = TokenizerDefinition()
    tokenizer.pieces = [
      .init("<unk>", kind: .unknown), .init("<s>", kind: .control), .init("</s>", kind: .control),
      .init("a", score: -1), .init("b", score: -2),
    ]
    tokenizer.byteFallback = false
    (tokenizer.unk, tokenizer.bos, tokenizer.eos) = (0, 1, 2)
    return tokenizer
  }

  /// Values of a tensor: small, distinct, reproducible.
  static func values(_ count: Int, seed: Int) -> [Float] {
    (0..<count).map { Float(($0 * 37 + seed * 11) % 101 - 50) / 64 }
  }

  static func entries() throws -> [PetarFileEntry] {
    [
      PetarFileEntry(name: "first", form: .matrix(try MatrixLayout(.f32, rows: 3, columns: 5))),
      PetarFileEntry(name: "second", form: .vector(count: 7)),
      PetarFileEntry(name: "third", form: .matrix(try MatrixLayout(.q8, rows: 20, columns: 9, groupSize: 4))),
    ]
  }

  static func write(to path: String) throws {
    let entries = try entries()
    let writer = try PetarFileWriter(path: path, tensors: entries)
    for (index, entry) in entries.enumerated() {
      var tensor = writer.tensor(index)
      switch entry.form {
      case .vector(let count): try values(count, seed: index).withUnsafeBytes { try tensor.append($0) }
      case .matrix(let layout):
        let rows = values(layout.rows * layout.columns, seed: index)
        for panel in 0..<layout.panels {
          let packed = try Buffer<UInt8>(count: layout.panelBytes)
          try rows.withUnsafeBufferPointer { rows in
            guard let base = rows.baseAddress else { return }
            try layout.packPanel(
              rows: base + panel * 16 * layout.columns, rowStride: layout.columns,
              rowCount: min(16, layout.rows - panel * 16), into: packed.base)
          }
          try tensor.append(UnsafeRawBufferPointer(packed.elements))
        }
      }
      try tensor.finish()
    }
    try writer.finish(description: description, tokenizer: tokenizer)
  }

  static func bytes() throws -> [UInt8] {
    try withTemporaryFolder { folder in
      try write(to: "\(folder)/small.petar")
      return [UInt8](try Data(contentsOf: URL(fileURLWithPath: "\(folder)/small.petar")))
    }
  }

  /// Opens from memory, and verifies if asked.
  @discardableResult
  static func open(_ bytes: [UInt8], verify: Bool = false) throws -> PetarFile {
    let file = try bytes.withUnsafeBytes { try PetarFile(bytes: $0, source: "small.petar") }
    if verify { try file.verify() }
    return file
  }
}

func withTemporaryFolder<Result>(_ body: (String) throws -> Result) throws -> Result {
  let folder = FileManager.default.temporaryDirectory.appendingPathComponent("petar-\(UUID().uuidString)").path
  try FileManager.default.createDirectory(atPath: folder, withIntermediateDirectories: true)
  defer { try? FileManager.default.removeItem(atPath: folder) }
  return try body(folder)
}

/// A folder that tests share; it is removed when the process ends.
func folderUntilExit() -> String {
  let folder = FileManager.default.temporaryDirectory.appendingPathComponent("petar-\(UUID().uuidString)").path
  try? FileManager.default.createDirectory(atPath: folder, withIntermediateDirectories: true)
  shared.withLock { $0.append(folder) }
  atexit { shared.withLock { $0.forEach { try? FileManager.default.removeItem(atPath: $0) } } }
  return folder
}

private let shared = Mutex<[String]>([])

/// A little-endian number at a place of a file.
func number(_ bytes: [UInt8], at offset: Int) -> Int {
  (0..<8).reduce(0) { $0 | Int(bytes[offset + $1]) << (8 * $1) }
}

func put(_ value: UInt64, into bytes: inout [UInt8], at offset: Int, bytes count: Int = 8) {
  for index in 0..<count { bytes[offset + index] = UInt8(truncatingIfNeeded: value >> (8 * UInt64(index))) }
}

/// The offsets of the header's three sections in the header.
enum SectionField {
  static let directory = 24
  static let metadata = 80
  static let tokenizer = 136
}

/// Makes the checksums of sections and header right again, so that what is wrong behind them is what is found.
func reseal(_ bytes: inout [UInt8]) {
  for field in [SectionField.directory, SectionField.metadata, SectionField.tokenizer] {
    let (offset, count) = (number(bytes, at: field), number(bytes, at: field + 8))
    guard offset >= 0, count >= 0, offset <= bytes.count, count <= bytes.count - offset else { continue }
    bytes.replaceSubrange(field + 24..<field + 56, with: SHA256.digest(Array(bytes[offset..<offset + count])))
  }
  bytes.replaceSubrange(192..<224, with: SHA256.digest(Array(bytes[0..<192])))
}
