import Synchronization

/// What went wrong first in parts that run side by side.
package final class FirstFailure: Sendable {
  private let error = Mutex<(any Error)?>(nil)

  package init() {}

  /// Runs a part, unless one has failed before.
  package func catching(_ part: () throws -> Void) {
    guard error.withLock({ $0 == nil }) else { return }
    do {
      try part()
    } catch let failure {
      error.withLock { $0 = $0 ?? failure }
    }
  }

  package func rethrow() throws {
    if let failure = error.withLock({ $0 }) { throw failure }
  }
}
