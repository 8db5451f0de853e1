import PetarConsole

/// Warnings on standard error, each said once, however many lesions it is about.
final class WarningLog {
  private var said: Set<String> = []
  private let progress: ProgressLine

  init(_ progress: ProgressLine) { self.progress = progress }

  func show(_ warning: String) {
    guard said.insert(warning).inserted else { return }
    progress.clear()
    Console.error("petar-describe: warning: \(warning)\n")
  }
}

/// A line on the terminal that shows how far the work is; nothing where nobody looks.
final class ProgressLine {
  private let streams: Bool
  private var shown = ""

  /// - Parameter streams: whether the finding is written to standard output as it comes.
  init(streams: Bool) { self.streams = streams }

  func show(_ stage: String, _ fraction: Double) {
    guard Console.errorIsTerminal else { return }
    // The finding itself is the progress of decoding when it is streamed to the same terminal.
    if stage == "decode" && streams && Console.outIsTerminal { return clear() }
    let filled = Int(fraction * 30)
    let bar = String(repeating: "#", count: filled) + String(repeating: ".", count: 30 - filled)
    let line = "\r\(stage.padded(8))[\(bar)] \(Int(fraction * 100)) %\u{1B}[K"
    if line != shown {
      Console.error(line)
      shown = line
    }
  }

  func clear() {
    if !shown.isEmpty { Console.error("\r\u{1B}[K") }
    shown = ""
  }
}
