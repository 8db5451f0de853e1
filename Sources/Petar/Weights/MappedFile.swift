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
    let file = try openFile(path, wanted: "a .petar file")
    defer { close(file.descriptor) }
    byteCount = file.byteCount
    guard byteCount > 0 else { throw PetarError(PETAR_ERROR_BAD_FILE, "\(path): the file is empty; copy it again") }
    guard let start = mmap(nil, byteCount, PROT_READ, MAP_PRIVATE, file.descriptor, 0), start != MAP_FAILED else {
      throw fileError("map", path)
    }
    address = UInt(bitPattern: start)
  }

  deinit { munmap(UnsafeMutableRawPointer(bitPattern: address), byteCount) }

  /// Valid while this object lives.
  package var bytes: UnsafeRawBufferPointer {
    UnsafeRawBufferPointer(start: UnsafeRawPointer(bitPattern: address), count: byteCount)
  }
}
