import CPetar
import Glibc

/// Memory for `count` trivial elements, aligned to a cache line, zero-filled.
///
/// Unlike `Array`, allocation can fail without ending the process: the host may be short of memory.
package final class Buffer<Element: BitwiseCopyable>: @unchecked Sendable {
  package let base: UnsafeMutablePointer<Element>
  package let count: Int
  private let byteCount: Int

  /// - Throws: `PETAR_ERROR_OUT_OF_MEMORY` when the system has no such block.
  package init(count: Int) throws {
    let (byteCount, overflow) = max(count, 1).multipliedReportingOverflow(by: MemoryLayout<Element>.stride)
    guard count >= 0, !overflow, byteCount <= Int.max - 64, let block = allocateZeroed(byteCount) else {
      throw PetarError(
        PETAR_ERROR_OUT_OF_MEMORY,
        "out of memory: \(count) elements of \(MemoryLayout<Element>.stride) bytes could not be allocated; "
          + "free memory or use a smaller exam or model")
    }
    self.base = block.bindMemory(to: Element.self, capacity: max(count, 1))
    self.count = count
    self.byteCount = byteCount
  }

  deinit { release(base, byteCount) }

  package var elements: UnsafeMutableBufferPointer<Element> {
    UnsafeMutableBufferPointer(start: base, count: count)
  }
}

/// From this size on memory comes straight from the system: it is there only once it is touched, so that room for a
/// long text costs nothing before the text is long, and it goes back at once.
private let mappedBytes = 1 << 20
/// From this size on in huge pages, where the system has them.
private let hugeBytes = 8 << 20

private func allocateZeroed(_ bytes: Int) -> UnsafeMutableRawPointer? {
  if bytes >= mappedBytes {
    let block = mmap(nil, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0)
    guard let block, block != MAP_FAILED else { return nil }
    // An image of 26 MB is 6,400 small pages, each of which the system has to be asked for.
    if bytes >= hugeBytes { madvise(block, bytes, MADV_HUGEPAGE) }
    return block
  }
  var block: UnsafeMutableRawPointer?
  guard posix_memalign(&block, 64, bytes) == 0, let block else { return nil }
  memset(block, 0, bytes)
  return block
}

private func release(_ block: UnsafeMutableRawPointer, _ bytes: Int) {
  if bytes >= mappedBytes { munmap(block, bytes) } else { free(block) }
}
