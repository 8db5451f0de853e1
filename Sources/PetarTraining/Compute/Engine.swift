import CKernels
import CTraining
import Petar

/// What layers are computed with: threads, kernels, and memory for activations.
///
/// Element-wise work is cut into parts by shape alone and every sum over parts runs in their order, so results do not
/// depend on the number of threads.
package final class Engine {
  /// The runtime's own operations, for everything forward that has one.
  let compute: Compute
  let pool: ThreadPool
  let kernels: pk_kernels
  let operations: ct_operations
  let arena = Arena()
  /// Decides which inputs of adapters are dropped in this step; nil for none.
  var dropoutSeed: UInt64?

  package init(pool: ThreadPool) throws {
    self.pool = pool
    compute = Compute(try InstructionSet(), pool: pool)
    kernels = compute.kernels
    operations = ct_operations_best().pointee
    OpenBLAS.prepare()
  }

  /// Calls `body` with the first row and the number of rows of each part.
  func overRows(_ rows: Int, width: Int, _ body: (_ first: Int, _ count: Int) -> Void) {
    let part = max((1 << 14) / max(width, 1), 1)
    pool.run((rows + part - 1) / part) { index in body(index * part, min(part, rows - index * part)) }
  }

  /// Sums over rows in parts that run side by side: `body` adds those of its rows to `width` zeros, which are then
  /// added to `sums` in the order of the parts.
  func sumOverRows(
    _ rows: Int, width: Int, into sums: UnsafeMutablePointer<Float>,
    _ body: (_ first: Int, _ count: Int, _ sums: UnsafeMutablePointer<Float>) -> Void
  ) throws {
    let part = 64
    let parts = (rows + part - 1) / part
    try arena.scoped {
      let partial = try arena.floats(parts * width)
      partial.update(repeating: 0, count: parts * width)
      pool.run(parts) { index in body(index * part, min(part, rows - index * part), partial + index * width) }
      operations.column_sums(partial, width, parts, width, sums)
    }
  }
}
