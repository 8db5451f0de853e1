import CPetar
import Glibc
import Petar
import Synchronization

/// Whether Ctrl-C or a termination was asked for. The work looks here between blocks and cleans up after itself.
package enum Interrupt {
  private static let requested = Atomic(false)

  package static func watch() {
    // Touched before the handler can be: initializing it there would not be safe.
    requested.store(false, ordering: .relaxed)
    for number in [SIGINT, SIGTERM, SIGHUP] {
      signal(number) { _ in Interrupt.requested.store(true, ordering: .relaxed) }
    }
  }

  /// - Parameter outcome: what became of the work.
  /// - Throws: `PETAR_CANCELLED` if it was asked for.
  package static func check(outcome: String = "nothing was left behind") throws {
    guard !requested.load(ordering: .relaxed) else {
      throw PetarError(PETAR_CANCELLED, "interrupted; \(outcome)")
    }
  }
}
