import Synchronization

/// Progress on standard error: a bar on a terminal, a line for every tenth elsewhere.
package final class ProgressBar: Sendable {
  private let label: String
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
    let onTerminal = Console.errorIsTerminal
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
        Console.error("\r\(label) [\(bar)] \(percent)%\(end)\(note.isEmpty ? "" : "  " + note)\u{1b}[K")
      } else {
        Console.error("\(label) \(step)%\(note.isEmpty ? "" : "  " + note)\n")
      }
    }
  }

  /// What the rest takes if it goes on as from `first` to `done`; nil while nothing has been done.
  package static func secondsLeft(after seconds: Double, _ first: Int, _ done: Int, _ total: Int) -> Int? {
    done > first ? Int(seconds * Double(total - done) / Double(done - first)) : nil
  }

  /// Ends the bar's line, so that what follows starts on one of its own.
  package func close() {
    if Console.errorIsTerminal, shown.withLock({ $0.percent >= 0 }) { Console.error("\n") }
  }
}
