/// Runs the parts of a computation side by side.
///
/// Which thread runs which part never changes a result: parts write to places of their own, and no sum is split
/// between parts.
package final class ThreadPool: Sendable {
  package let threads: Int

  package init(threads: Int) throws { self.threads = max(threads, 1) }

  /// Calls `body(0) ... body(count - 1)`, each once, and returns after all of them have.
  package func run(_ count: Int, _ body: (Int) -> Void) {
    for index in 0..<count { body(index) }
  }
}
