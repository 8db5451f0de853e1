import CPetar
import CZstd

// The three parts behind the tensors: directory, metadata, tokenizer. Each is checked against its SHA-256 before
// anything in it is believed.

extension PetarFileSection {
  /// The most a compressed section may hold. A tokenizer of 200,000 pieces takes a tenth of it.
  package static let contentLimit = 64 << 20

  /// The stored bytes, which must start at `start` and match their checksum.
  func stored(in reader: ByteReader, startingAt start: Int, called what: String) throws -> UnsafeRawBufferPointer {
    guard offset == start else {
      throw reader.fail(
        "the \(what) starts at \(offset), not at \(start) where what comes before it ends; convert the checkpoint again"
      )
    }
    guard storedBytes <= reader.bytes.count, offset <= reader.bytes.count - storedBytes else {
      throw reader.fail(
        "the \(what) takes \(storedBytes) bytes at \(offset), more than the file's \(reader.bytes.count) bytes hold; "
          + "convert the checkpoint again")
    }
    let bytes = UnsafeRawBufferPointer(rebasing: reader.bytes[offset..<(offset + storedBytes)])
    guard SHA256.digest(bytes) == sha256 else {
      throw PetarError(
        PETAR_ERROR_CHECKSUM,
        "\(reader.source): the \(what) does not match its checksum; the file is damaged, copy it again")
    }
    return bytes
  }

  /// What a compressed section holds. The size is checked before memory is taken: at most `contentLimit`, and no more
  /// than honest text compresses to, so that a small file cannot ask for much memory.
  func decompressed(_ stored: UnsafeRawBufferPointer, source: String, called what: String) throws -> [UInt8] {
    func bad(_ sentence: String) -> PetarError {
      PetarError(PETAR_ERROR_BAD_FILE, "\(source): the \(what) \(sentence); convert the checkpoint again")
    }
    guard contentBytes <= Self.contentLimit else {
      throw bad("claims \(contentBytes) bytes, more than the \(Self.contentLimit) allowed")
    }
    guard contentBytes <= stored.count * 256 + 4096 else {
      throw bad("claims \(contentBytes) bytes from \(stored.count) compressed ones, which no real one needs")
    }
    guard ZSTD_findFrameCompressedSize(stored.baseAddress, stored.count) == stored.count else {
      throw bad("is not exactly one zstd frame")
    }
    let frameBytes = ZSTD_getFrameContentSize(stored.baseAddress, stored.count)
    guard frameBytes == UInt64(contentBytes) else {
      throw bad("says it holds \(contentBytes) bytes, its zstd frame says otherwise")
    }
    let content = try Buffer<UInt8>(count: contentBytes)
    let written = ZSTD_decompress(content.base, contentBytes, stored.baseAddress, stored.count)
    guard written == contentBytes else { throw bad("cannot be decompressed") }
    return Array(content.elements)
  }
}
