import CPetar
import Glibc
import Synchronization

/// Standard output and error, unbuffered, so that a streamed finding appears as it is written.
enum Console {
  private static let outFailed = Atomic(false)
  /// Whether something could not be written to standard output, which has been said then.
  static var outIsIncomplete: Bool { outFailed.load(ordering: .relaxed) }

  static func out(_ text: String) {
    // Nothing follows a gap.
    if outIsIncomplete || write(text, to: STDOUT_FILENO) { return }
    let reason = String(cString: strerror(errno))
    outFailed.store(true, ordering: .relaxed)
    error("petar-describe: standard output cannot be written, the rest is lost: \(reason)\n")
  }

  static func error(_ text: String) { _ = write(text, to: STDERR_FILENO) }

  static let errorIsTerminal = isatty(STDERR_FILENO) == 1
  static let outIsTerminal = isatty(STDOUT_FILENO) == 1

  /// False, and `errno`, if not all of it could be written.
  private static func write(_ text: String, to descriptor: Int32) -> Bool {
    var text = text
    return text.withUTF8 { utf8 in
      var rest = UnsafeRawBufferPointer(utf8)
      while !rest.isEmpty {
        let written = Glibc.write(descriptor, rest.baseAddress, rest.count)
        if written >= 0 {
          rest = UnsafeRawBufferPointer(rebasing: rest[written...])
        } else if errno == EAGAIN {
          // A pipe that does not block, whose reader is slow.
          var wanted = pollfd(fd: descriptor, events: Int16(POLLOUT), revents: 0)
          poll(&wanted, 1, -1)
        } else if errno != EINTR {
          return false
        }
      }
      return true
    }
  }
}

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
    let line = "\r\(stage.padded(to: 8))[\(bar)] \(Int(fraction * 100)) %\u{1B}[K"
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

extension String {
  fileprivate func padded(to width: Int) -> String {
    count < width ? self + String(repeating: " ", count: width - count) : self
  }
}
