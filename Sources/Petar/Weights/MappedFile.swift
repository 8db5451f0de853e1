import CPetar
import Glibc

/// A file in memory without being read: pages come from the page cache when they are touched.
///
/// The file must not be truncated in place while this lives (petar.h says so); replacing it by renaming is safe.
package final class MappedFile: Sendable {
  package let byteCount: Int
  private let address: UInt

  /// - Throws: `PETAR_ERROR_IO` with the system's reason; `PETAR_ERROR_BAD_FILE` for an empty file, which cannot be
  ///   mapped.
  package init(path: String) throws {
    let descriptor = open(path, O_RDONLY | O_CLOEXEC)
    guard descriptor >= 0 else { throw MappedFile.failure("open", path) }
    defer { close(descriptor) }
    var status = stat()
    guard fstat(descriptor, &status) == 0 else { throw MappedFile.failure("read", path) }
    guard status.st_mode & S_IFMT == S_IFREG else {
      throw PetarError(PETAR_ERROR_IO, "cannot open \(path): it is not a regular file")
    }
    guard status.st_size > 0 else { throw PetarError(PETAR_ERROR_BAD_FILE, "\(path): the file is empty") }
    byteCount = Int(status.st_size)
    guard let start = mmap(nil, byteCount, PROT_READ, MAP_PRIVATE, descriptor, 0), start != MAP_FAILED else {
      throw MappedFile.failure("map", path)
    }
    address = UInt(bitPattern: start)
  }

  deinit { munmap(UnsafeMutableRawPointer(bitPattern: address), byteCount) }

  /// Valid while this object lives.
  package var bytes: UnsafeRawBufferPointer {
    UnsafeRawBufferPointer(start: UnsafeRawPointer(bitPattern: address), count: byteCount)
  }

  private static func failure(_ verb: String, _ path: String) -> PetarError {
    PetarError(PETAR_ERROR_IO, "cannot \(verb) \(path): \(String(cString: strerror(errno)))")
  }
}
