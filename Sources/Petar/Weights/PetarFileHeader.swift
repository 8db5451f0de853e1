import CPetar

/// Where a part of a .petar file lies and what its stored bytes hash to.
package struct PetarFileSection: Sendable, Equatable {
  package var offset = 0
  /// Bytes in the file.
  package var storedBytes = 0
  /// Bytes after decompression; equal to `storedBytes` for the directory, which is not compressed.
  package var contentBytes = 0
  package var sha256 = [UInt8](repeating: 0, count: 32)

  package init() {}
}

/// The first 224 bytes of a .petar file; `PetarFile` has the table.
package struct PetarFileHeader: Sendable, Equatable {
  /// The high bit, CR LF and a name: what a transfer in text mode or over seven bits would damage.
  package static let magic: [UInt8] = [0x89, 0x50, 0x45, 0x54, 0x41, 0x52, 0x0d, 0x0a]
  package static let version: UInt32 = 1
  package static let byteCount = 224

  package var tensorCount = 0
  package var fileBytes = 0
  package var directory = PetarFileSection()
  package var metadata = PetarFileSection()
  package var tokenizer = PetarFileSection()

  package init() {}

  package func write(to out: inout ByteWriter) {
    var body = ByteWriter()
    body.raw(Self.magic)
    body.integer(Self.version)
    body.integer(UInt32(clamping: tensorCount))
    body.integer(UInt64(clamping: fileBytes))
    for section in [directory, metadata, tokenizer] {
      for value in [section.offset, section.storedBytes, section.contentBytes] { body.integer(UInt64(clamping: value)) }
      body.raw(section.sha256)
    }
    out.raw(body.bytes)
    out.raw(SHA256.digest(body.bytes))
  }

  /// - Throws: `PETAR_ERROR_BAD_FILE` for what is no .petar file, is cut off or has something behind its end,
  ///   `PETAR_ERROR_FILE_VERSION` for another format version, `PETAR_ERROR_CHECKSUM` for a damaged header.
  package init(from reader: inout ByteReader) throws {
    let start = try? reader.take(Self.magic.count)
    guard let start, start.elementsEqual(Self.magic) else {
      throw reader.fail("this is not a .petar file: it does not start with the signature; make one with petar-convert")
    }
    let version: UInt32 = try reader.integer()
    guard version == Self.version else {
      throw PetarError(
        PETAR_ERROR_FILE_VERSION,
        "\(reader.source): the file has format version \(version), this library reads version \(Self.version); "
          + "use a newer library or convert the checkpoint again")
    }
    tensorCount = Int(try reader.integer(UInt32.self))
    let storedFileBytes: UInt64 = try reader.integer()
    fileBytes = Int(clamping: storedFileBytes)
    directory = try Self.section(from: &reader)
    metadata = try Self.section(from: &reader)
    tokenizer = try Self.section(from: &reader)
    let body = UnsafeRawBufferPointer(rebasing: reader.bytes.prefix(reader.offset))
    let stored = try reader.take(32)
    guard stored.elementsEqual(SHA256.digest(body)) else {
      throw PetarError(
        PETAR_ERROR_CHECKSUM,
        "\(reader.source): the header does not match its checksum; the file is damaged, copy it again")
    }
    guard fileBytes == reader.bytes.count else {
      throw reader.fail(
        "the file has \(reader.bytes.count) bytes but its header says \(storedFileBytes); "
          + (reader.bytes.count < fileBytes ? "it is truncated, copy it again" : "something was appended to it"))
    }
  }

  private static func section(from reader: inout ByteReader) throws -> PetarFileSection {
    var section = PetarFileSection()
    // What does not fit Int is larger than any file: the section rules refuse it by name.
    section.offset = Int(clamping: try reader.integer(UInt64.self))
    section.storedBytes = Int(clamping: try reader.integer(UInt64.self))
    section.contentBytes = Int(clamping: try reader.integer(UInt64.self))
    section.sha256 = Array(try reader.take(32))
    return section
  }
}
