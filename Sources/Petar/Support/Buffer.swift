import CPetar
import Glibc

/// Memory for `count` trivial elements, aligned to a cache line, zero-filled.
///
/// Unlike `Array`, allocation can fail without ending the process: the host may be short of memory.
package final class Buffer<Element: BitwiseCopyable>: @unchecked Sendable {
  package let base: UnsafeMutablePointer<Element>
  package let count: Int

  /// - Throws: `PETAR_ERROR_OUT_OF_MEMORY` when the system has no such block.
  package init(count: Int) throws {
    let (bytes, overflow) = max(count, 1).multipliedReportingOverflow(by: MemoryLayout<Element>.stride)
    var block: UnsafeMutableRawPointer?
    guard count >= 0, !overflow, bytes <= Int.max - 64, posix_memalign(&block, 64, bytes) == 0, let block else {
      throw PetarError(
        PETAR_ERROR_OUT_OF_MEMORY,
        "out of memory: \(count) elements of \(MemoryLayout<Element>.stride) bytes could not be allocated; "
          + "free memory or use a smaller exam or model")
    }
    memset(block, 0, bytes)
    self.base = block.bindMemory(to: Element.self, capacity: max(count, 1))
    self.count = count
  }

  deinit { free(base) }

  package var elements: UnsafeMutableBufferPointer<Element> {
    UnsafeMutableBufferPointer(start: base, count: count)
  }
}
