/// Memory for what an operation needs while it runs. It belongs to one session, grows to what the largest operation
/// took and is used again, so that in the long run nothing is allocated.
package final class Scratch {
  private var block: Buffer<UInt8>?

  package init() {}

  /// At least `count` bytes of unknown content, aligned to 64. They are the caller's until the next call.
  /// - Throws: `PETAR_ERROR_OUT_OF_MEMORY`.
  package func bytes(_ count: Int) throws -> UnsafeMutableRawPointer {
    if let block, block.count >= count { return UnsafeMutableRawPointer(block.base) }
    block = nil
    let larger = try Buffer<UInt8>(count: count)
    block = larger
    return UnsafeMutableRawPointer(larger.base)
  }
}

/// `count` rounded up to a multiple of `step`.
package func roundedUp(_ count: Int, to step: Int) -> Int { (count + step - 1) / step * step }
