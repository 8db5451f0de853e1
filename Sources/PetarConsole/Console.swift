import Glibc
import Synchronization

/// Standard output and error, unbuffered, so that what is said appears at once.
package enum Console {
  private static let outFailed = Atomic(false)
  /// Whether something could not be written to standard output, which has been said then.
  package static var outIsIncomplete: Bool { outFailed.load(ordering: .relaxed) }

  package static func out(_ text: String) {
    // Nothing follows a gap.
    if outIsIncomplete || write(text, to: STDOUT_FILENO) { return }
    let reason = String(cString: strerror(errno))
    outFailed.store(true, ordering: .relaxed)
    let tool = CommandLine.arguments.first?.split(separator: "/").last ?? "petar"
    error("\(tool): standard output cannot be written, the rest is lost: \(reason)\n")
  }

  package static func error(_ text: String) { _ = write(text, to: STDERR_FILENO) }

  package static let errorIsTerminal = isatty(STDERR_FILENO) == 1
  package static let outIsTerminal = isatty(STDOUT_FILENO) == 1

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
