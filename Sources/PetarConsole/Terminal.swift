import CPetar
import Glibc
import Petar
import Synchronization

package func printError(_ text: String) { write(text, to: STDERR_FILENO) }

private func write(_ text: String, to descriptor: Int32) {
  var text = text
  text.withUTF8 { bytes in
    var rest = UnsafeRawBufferPointer(bytes)
    while !rest.isEmpty {
      let count = Glibc.write(descriptor, rest.baseAddress, rest.count)
      guard count > 0 else { return }
      rest = UnsafeRawBufferPointer(rebasing: rest.dropFirst(count))
    }
  }
}

/// Progress on standard error: a bar on a terminal, a line for every tenth elsewhere.
package final class ProgressBar: Sendable {
  private let label: String
  private let onTerminal = isatty(STDERR_FILENO) == 1
  private let shown = Mutex(Shown())

  private struct Shown {
    var percent = -1
    /// Where the work began, or went on: what was done before took other time.
    var start: (done: Int, time: ContinuousClock.Instant)?
  }

  package init(_ label: String) { self.label = label }

  /// - Parameter note: what else there is to say of this moment.
  package func show(_ done: Int, _ total: Int, note: String = "") {
    let percent = total > 0 ? min(done * 100 / total, 100) : 100
    let step = onTerminal ? percent : percent / 10 * 10
    shown.withLock { shown in
      let start = shown.start ?? (done, .now)
      shown.start = start
      // A note is worth a new line on the terminal although the bar has not moved.
      guard step > shown.percent || onTerminal && !note.isEmpty else { return }
      shown.percent = step
      if onTerminal {
        let filled = percent * 40 / 100
        let bar = String(repeating: "#", count: filled) + String(repeating: ".", count: 40 - filled)
        let seconds = start.time.duration(to: .now) / .seconds(1)
        let left = Self.secondsLeft(after: seconds, start.done, done, total)
        let end = left.map { "  \($0) s left" } ?? ""
        printError("\r\(label) [\(bar)] \(percent)%\(end)\(note.isEmpty ? "" : "  " + note)\u{1b}[K")
      } else {
        printError("\(label) \(step)%\(note.isEmpty ? "" : "  " + note)\n")
      }
    }
  }

  /// What the rest takes if it goes on as from `first` to `done`; nil while nothing has been done.
  package static func secondsLeft(after seconds: Double, _ first: Int, _ done: Int, _ total: Int) -> Int? {
    done > first ? Int(seconds * Double(total - done) / Double(done - first)) : nil
  }

  /// Ends the bar's line, so that what follows starts on one of its own.
  package func close() {
    if onTerminal, shown.withLock({ $0.percent >= 0 }) { printError("\n") }
  }
}

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
