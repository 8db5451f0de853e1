import CPetar
import Glibc
import Petar

/// An open file of a checkpoint. Read in pieces and not mapped: mapped pages would count as this process's memory.
final class SourceFile: Sendable {
  let path: String
  let byteCount: Int
  private let descriptor: Int32

  /// - Throws: `PETAR_ERROR_IO` with the system's reason.
  init(path: String) throws {
    self.path = path
    (descriptor, byteCount) = try openFile(path, wanted: "a file")
  }

  deinit { close(descriptor) }

  /// Fills `buffer` from the bytes at `offset`.
  func read(into buffer: UnsafeMutableRawBufferPointer, at offset: Int) throws {
    var done = 0
    while done < buffer.count {
      let count = pread(descriptor, buffer.baseAddress.map { $0 + done }, buffer.count - done, off_t(offset + done))
      if count < 0, errno == EINTR { continue }
      guard count >= 0 else { throw fileError("read", path) }
      guard count > 0 else {
        throw PetarError(PETAR_ERROR_IO, "cannot read \(path): it became shorter while it was read")
      }
      done += count
    }
  }

  func read(_ count: Int, at offset: Int) throws -> [UInt8] {
    var bytes = [UInt8](repeating: 0, count: count)
    try bytes.withUnsafeMutableBytes { try read(into: $0, at: offset) }
    return bytes
  }

  /// The whole of a small file.
  func readAll(limit: Int = 256 << 20) throws -> [UInt8] {
    guard byteCount <= limit else {
      throw PetarError(
        PETAR_ERROR_BAD_FILE, "\(path): \(byteCount) bytes are more than such a file can have (\(limit))")
    }
    return try read(byteCount, at: 0)
  }

  /// SHA-256 of the content. `progress` is called with the bytes of each piece; what it throws ends the work.
  func sha256(progress: (Int) throws -> Void) throws -> [UInt8] {
    var hash = SHA256()
    let piece = try Buffer<UInt8>(count: 4 << 20)
    var position = 0
    while position < byteCount {
      let count = min(piece.count, byteCount - position)
      let bytes = UnsafeMutableRawBufferPointer(start: piece.base, count: count)
      try read(into: bytes, at: position)
      hash.update(UnsafeRawBufferPointer(bytes))
      position += count
      try progress(count)
    }
    return hash.finish()
  }
}
