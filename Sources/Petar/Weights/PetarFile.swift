import CPetar

/// A .petar file: a whole model, mapped and useful at once.
///
/// # Format, version 1
///
/// Integers and floats are little-endian; "section" is offset u64, stored bytes u64, content bytes u64 and the SHA-256
/// of the stored bytes (56 bytes in all); "string" is a byte count u32 and UTF-8.
///
/// | offset | bytes | header                                                                              |
/// |-------:|------:|-------------------------------------------------------------------------------------|
/// |      0 |     8 | signature 89 50 45 54 41 52 0D 0A                                                   |
/// |      8 |     4 | format version u32: 1. A reader that does not know it reads no further              |
/// |     12 |     4 | number of tensors u32                                                               |
/// |     16 |     8 | length of the file u64                                                              |
/// |     24 |    56 | section: directory, not compressed (stored = content bytes)                         |
/// |     80 |    56 | section: metadata, one zstd frame                                                   |
/// |    136 |    56 | section: tokenizer, one zstd frame                                                  |
/// |    192 |    32 | SHA-256 of bytes 0..<192                                                            |
///
/// The header is followed by the tensors in the order of the directory. Each starts at the first multiple of 4096 after
/// what comes before it; the bytes between are zero. Directory, metadata and tokenizer follow the last tensor without
/// a gap, and the file ends where the tokenizer does: there is no byte that nothing speaks for.
///
/// | bytes | directory entry, one for each tensor                                                         |
/// |------:|----------------------------------------------------------------------------------------------|
/// | 4 + n | string: name, 1...256 bytes, unique (`TensorName`)                                           |
/// |     4 | kind u32: 1 matrix, 2 vector                                                                 |
/// |     4 | encoding u32 (`Encoding`); 1 for a vector                                                    |
/// |     8 | rows u64; the number of values for a vector                                                  |
/// |     8 | columns u64; 1 for a vector                                                                  |
/// |     4 | columns that share a scale, u32; 0 where the encoding has no scales                          |
/// |     4 | columns in a block of the rotation, u32; 1 where rows are not rotated                        |
/// |     8 | offset in the file u64, a multiple of 4096                                                   |
/// |     8 | bytes in the file u64: `MatrixLayout.byteCount`, or 4 for each value of a vector             |
/// |    32 | SHA-256 of these bytes                                                                       |
///
/// Matrices lie as `MatrixLayout` says, vectors as f32. The content of the metadata is what `ModelDescription.write`
/// writes, that of the tokenizer what `TokenizerDefinition.write` writes; a section holds at most 64 MiB and at most
/// 256 times its stored bytes plus 4096.
///
/// Opening checks everything but the tensors' bytes and the zeros between them; `verify` checks those too. The hash
/// that names a model is the SHA-256 over header, directory and metadata as stored: with the checksums they hold, it
/// speaks for every byte of the file.
package final class PetarFile: Sendable {
  /// The path, for messages.
  package let source: String
  package let description: ModelDescription
  /// The content of the tokenizer section: what `TokenizerDefinition.write` wrote.
  package let tokenizerBytes: [UInt8]
  /// The tensors in the order in which they lie in the file.
  package let entries: [PetarFileEntry]
  /// 64 hexadecimal digits; the same for the same model, whatever the file is called.
  package let hash: String
  package let byteCount: Int

  private let storage: any PetarFileStorage
  private let index: [String: Int]
  private let directoryOffset: Int

  /// Maps the file. Takes time for header, directory, metadata and tokenizer only, unless `verify` is set.
  /// - Throws: `PETAR_ERROR_IO`, `BAD_FILE`, `CHECKSUM`, `FILE_VERSION`, `OUT_OF_MEMORY`.
  package static func open(path: String, verify: Bool) throws -> PetarFile {
    let file = try PetarFile(MappedFile(path: path), source: path)
    if verify { try file.verify() }
    return file
  }

  /// A file that is in memory already: the same checks and the same tensors, copied once.
  package convenience init(bytes: UnsafeRawBufferPointer, source: String) throws {
    let copy = try Buffer<UInt8>(count: bytes.count)
    UnsafeMutableRawBufferPointer(copy.elements).copyMemory(from: bytes)
    try self.init(copy, source: source)
  }

  private init(_ storage: any PetarFileStorage, source: String) throws {
    self.storage = storage
    self.source = source
    let bytes = storage.bytes
    byteCount = bytes.count
    var reader = ByteReader(bytes, source: source)
    let header = try PetarFileHeader(from: &reader)

    // Directory: everything up to it is tensors.
    guard header.directory.contentBytes == header.directory.storedBytes else {
      throw reader.fail("the directory is not compressed but gives two sizes; convert the checkpoint again")
    }
    let directory = try header.directory.stored(
      in: reader, startingAt: header.directory.offset, called: "directory")
    let (entries, end) = try Self.read(directory, "directory of \(source)") {
      try PetarFileDirectory.read(header.tensorCount, from: &$0, end: header.directory.offset)
    }
    guard header.directory.offset == end else {
      throw reader.fail(
        "the directory starts at \(header.directory.offset), the tensors end at \(end); convert the checkpoint again")
    }
    directoryOffset = end
    self.entries = entries

    // Metadata and tokenizer.
    let metadata = try header.metadata.stored(in: reader, startingAt: end + directory.count, called: "metadata")
    let content = try header.metadata.decompressed(metadata, source: source, called: "metadata")
    description = try content.withUnsafeBytes { content in
      try Self.read(content, "metadata of \(source)") { reader in
        let description = try ModelDescription(from: &reader)
        guard reader.remaining == 0 else { throw reader.fail("\(reader.remaining) bytes follow its last field") }
        return description
      }
    }
    let tokenizerStart = end + directory.count + metadata.count
    let tokenizer = try header.tokenizer.stored(in: reader, startingAt: tokenizerStart, called: "tokenizer")
    tokenizerBytes = try header.tokenizer.decompressed(tokenizer, source: source, called: "tokenizer")
    guard tokenizerStart + tokenizer.count == bytes.count else {
      throw reader.fail(
        "\(bytes.count - tokenizerStart - tokenizer.count) bytes follow the tokenizer; convert the checkpoint again")
    }

    var index: [String: Int] = [:]
    for (position, entry) in entries.enumerated() { index[entry.name] = position }
    self.index = index
    var modelHash = SHA256()
    modelHash.update(UnsafeRawBufferPointer(rebasing: bytes.prefix(PetarFileHeader.byteCount)))
    modelHash.update(directory)
    modelHash.update(metadata)
    hash = hexadecimal(modelHash.finish())
  }

  /// What breaks a rule within a section whose checksum is right was written so, and is not mended by another copy.
  private static func read<Content>(
    _ bytes: UnsafeRawBufferPointer, _ source: String, _ body: (inout ByteReader) throws -> Content
  ) throws -> Content {
    var reader = ByteReader(bytes, source: source)
    do {
      return try body(&reader)
    } catch let error as PetarError {
      throw PetarError(error.status, "\(error.message); convert the checkpoint again")
    }
  }
}

/// Memory that holds a file: mapped or copied.
protocol PetarFileStorage: AnyObject, Sendable {
  var bytes: UnsafeRawBufferPointer { get }
}

extension MappedFile: PetarFileStorage {}

extension Buffer: PetarFileStorage {
  var bytes: UnsafeRawBufferPointer { UnsafeRawBufferPointer(elements) }
}

/// f32 values in memory that somebody else owns; they live as long as this does.
package struct Vector: @unchecked Sendable {
  package let base: UnsafePointer<Float>
  package let count: Int
  private let owner: AnyObject & Sendable

  package init(_ base: UnsafePointer<Float>, count: Int, owner: AnyObject & Sendable) {
    self.base = base
    self.count = count
    self.owner = owner
  }

  package var elements: UnsafeBufferPointer<Float> { UnsafeBufferPointer(start: base, count: count) }
}

// ---- Tensors ------------------------------------------------------------------------------------------------------

extension PetarFile {
  /// The matrix of this name, in place.
  /// - Throws: `PETAR_ERROR_BAD_FILE` when it is not there or of another shape.
  package func matrix(_ name: String, rows: Int, columns: Int) throws -> Matrix {
    let wanted = "a matrix of \(rows) x \(columns)"
    let entry = try entry(name, wanted: wanted)
    guard case .matrix(let layout) = entry.form, layout.rows == rows, layout.columns == columns else {
      throw mismatch(entry, wanted: wanted)
    }
    guard let base = bytes(of: entry).baseAddress else { throw mismatch(entry, wanted: wanted) }
    return Matrix(layout, bytes: base, owner: storage)
  }

  /// The vector of this name, in place.
  /// - Throws: `PETAR_ERROR_BAD_FILE` when it is not there or of another size.
  package func vector(_ name: String, count: Int) throws -> Vector {
    let wanted = "a vector of \(count)"
    let entry = try entry(name, wanted: wanted)
    guard entry.form == .vector(count: count), let base = bytes(of: entry).baseAddress else {
      throw mismatch(entry, wanted: wanted)
    }
    return Vector(base.assumingMemoryBound(to: Float.self), count: count, owner: storage)
  }

  /// Whether there is a tensor of this name.
  package func contains(_ name: String) -> Bool { index[name] != nil }

  /// How matrices are stored: "f32", "f16", "q8" or "q4", joined by "+" if there are several. q8 beside q4 is not told:
  /// a q4 file has it where 4 bits would gain nothing.
  package var weightsType: String {
    var encodings = Set(matrices.map(\.encoding))
    if encodings.contains(.q4) { encodings.remove(.q8) }
    return Encoding.allCases.filter(encodings.contains).map { "\($0)" }.joined(separator: "+")
  }

  /// For each encoding of matrices in the file the parameters and the bits that one takes, scales included.
  package var weightsByEncoding: [(encoding: Encoding, parameters: Int, bits: Double)] {
    Encoding.allCases.compactMap { encoding in
      let layouts = matrices.filter { $0.encoding == encoding }
      let parameters = layouts.reduce(0) { $0 + $1.rows * $1.columns }
      let bytes = layouts.reduce(0) { $0 + $1.byteCount }
      return parameters > 0 ? (encoding, parameters, Double(bytes) * 8 / Double(parameters)) : nil
    }
  }

  private var matrices: [MatrixLayout] {
    entries.compactMap { if case .matrix(let layout) = $0.form { layout } else { nil } }
  }

  package var parameterCount: Int { entries.reduce(0) { $0 + $1.parameterCount } }

  private func entry(_ name: String, wanted: String) throws -> PetarFileEntry {
    guard let position = index[name] else {
      throw PetarError(
        PETAR_ERROR_BAD_FILE, "\(source): tensor \(name) is missing, \(wanted) is wanted; convert the checkpoint again")
    }
    return entries[position]
  }

  private func mismatch(_ entry: PetarFileEntry, wanted: String) -> PetarError {
    let found =
      switch entry.form {
      case .matrix(let layout): "a matrix of \(layout.rows) x \(layout.columns)"
      case .vector(let count): "a vector of \(count)"
      }
    return PetarError(
      PETAR_ERROR_BAD_FILE,
      "\(source): tensor \(entry.name) is \(found), \(wanted) is wanted; convert the checkpoint again")
  }

  private func bytes(of entry: PetarFileEntry) -> UnsafeRawBufferPointer {
    UnsafeRawBufferPointer(rebasing: storage.bytes[entry.offset..<(entry.offset + entry.byteCount)])
  }
}

// ---- Checksums ----------------------------------------------------------------------------------------------------

extension PetarFile {
  /// Compares every tensor with its checksum and every byte between tensors with zero. Reads the whole file.
  /// - Parameter progress: called with the bytes done and the bytes in all; what it throws ends the work.
  /// - Throws: `PETAR_ERROR_CHECKSUM` naming the tensor, `BAD_FILE` for padding that is not zero.
  package func verify(progress: (Int, Int) throws -> Void = { _, _ in }) throws {
    var position = PetarFileHeader.byteCount
    for entry in entries {
      let padding = storage.bytes[position..<entry.offset]
      guard padding.allSatisfy({ $0 == 0 }) else {
        throw PetarError(
          PETAR_ERROR_BAD_FILE,
          "\(source): the bytes before tensor \(entry.name) are not zero; the file is damaged, copy it again")
      }
      var hash = SHA256()
      position = entry.offset
      let end = entry.offset + entry.byteCount
      while position < end {
        let next = min(position + (16 << 20), end)
        hash.update(UnsafeRawBufferPointer(rebasing: storage.bytes[position..<next]))
        position = next
        try progress(position, directoryOffset)
      }
      guard hash.finish() == entry.sha256 else {
        throw PetarError(
          PETAR_ERROR_CHECKSUM,
          "\(source): tensor \(entry.name) does not match its checksum; the file is damaged, copy it again")
      }
    }
  }
}
