import Petar

/// Memory for the activations of a step: taken like a stack, kept from step to step, so that in the long run nothing
/// is allocated.
final class Arena {
  /// A height of the stack.
  struct Mark {
    fileprivate let chunk: Int
    fileprivate let used: Int
  }

  private var chunks: [Buffer<Float>] = []
  private var top = Mark(chunk: 0, used: 0)

  /// The smallest piece taken from the system, 16 MiB.
  private static let chunkFloats = 4 << 20

  /// `count` floats of unknown content, aligned to a cache line; they are the caller's until the stack is lower.
  /// - Throws: `PETAR_ERROR_OUT_OF_MEMORY`.
  func floats(_ count: Int) throws -> UnsafeMutablePointer<Float> {
    let size = roundedUp(count, to: 16)
    if top.chunk < chunks.count, chunks[top.chunk].count - top.used >= size {
      defer { top = Mark(chunk: top.chunk, used: top.used + size) }
      return chunks[top.chunk].base + top.used
    }
    let next = chunks.isEmpty ? 0 : top.chunk + 1
    if next >= chunks.count || chunks[next].count < size {
      // Those above the top are free.
      chunks.removeSubrange(min(next, chunks.count)...)
      chunks.append(try Buffer(count: max(size, Self.chunkFloats)))
    }
    top = Mark(chunk: next, used: size)
    return chunks[next].base
  }

  var mark: Mark { top }

  /// Gives back what was taken after `mark`.
  func release(to mark: Mark) { top = mark }

  /// Runs `body` and gives back what it took.
  func scoped<Result>(_ body: () throws -> Result) rethrows -> Result {
    let start = mark
    defer { release(to: start) }
    return try body()
  }

  /// Gives everything back. Pieces become one, so that the next step finds its memory in a row.
  func reset() throws {
    if chunks.count > 1 {
      let total = chunks.reduce(0) { $0 + $1.count }
      chunks = []
      chunks = [try Buffer(count: total)]
    }
    top = Mark(chunk: 0, used: 0)
  }

  var byteCount: Int { chunks.reduce(0) { $0 + $1.count * 4 } }
}
