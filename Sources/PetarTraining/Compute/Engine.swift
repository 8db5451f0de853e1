import CKernels
import CTraining
import Petar

/// A part of a computation, for one thread.
typealias Work = () -> Void

/// What layers are computed with: threads, kernels, and memory for activations.
///
/// Element-wise work is cut into parts by shape alone and every sum over parts runs in their order, so results do not
/// depend on the number of threads.
package final class Engine {
  let pool: ThreadPool
  /// The runtime's own, for everything forward that has one.
  let kernels: pk_kernels
  let operations: ct_operations
  let arena = Arena()
  /// Decides which inputs of adapters are dropped in this step; nil for none.
  var dropoutSeed: UInt64?

  package init(pool: ThreadPool) throws {
    self.pool = pool
    kernels = Compute(try InstructionSet(), pool: pool).kernels
    operations = ct_operations_best().pointee
    OpenBLAS.prepare()
  }

  /// Runs `works` and the parts of `body`, side by side and in this order: threads wait for each other once, at the end.
  /// What takes long comes first.
  func run(_ works: [Work], _ count: Int = 0, _ body: (_ index: Int, _ lane: Int) -> Void = { _, _ in }) {
    pool.run(works.count + count) { index, lane in
      if index < works.count { works[index]() } else { body(index - works.count, lane) }
    }
  }

  /// Calls `body` with the first row and the number of rows of each part.
  func overRows(_ rows: Int, width: Int, _ body: (_ first: Int, _ count: Int) -> Void) {
    let part = max((1 << 14) / max(width, 1), 1)
    pool.run((rows + part - 1) / part) { index in body(index * part, min(part, rows - index * part)) }
  }
}
