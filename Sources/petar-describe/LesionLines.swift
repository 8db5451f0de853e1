import CPetar

/// Lesions of a batch on standard output: a JSON object a line for each that has ended, with its label.
final class LesionLines {
  private let labels: [Int32]
  private let progress: ProgressLine
  private(set) var anyFailed = false

  init(_ labels: [Int32], _ progress: ProgressLine) {
    self.labels = labels
    self.progress = progress
  }

  /// What `petar_finding_fn` says of a lesion.
  func write(_ index: Int, _ status: petar_status, _ message: UnsafePointer<CChar>?, _ finding: OpaquePointer?) {
    let label = labels[index]
    progress.clear()
    do {
      // The message is the callback's, not the thread's last one.
      guard status == PETAR_OK else {
        throw Failure(exitStatus: Int32(status.rawValue), message: message.map { String(cString: $0) } ?? "")
      }
      let json = try string { petar_finding_json(finding, $0, $1) }
      Console.out("{\"label\": \(label), " + json.dropFirst() + "\n")
    } catch let failure as Failure where failure.exitStatus != PETAR_CANCELLED.rawValue {
      anyFailed = true
      Console.out("{\"label\": \(label), \"error\": \(failure.json)}\n")
      Console.error("petar-describe: label \(label): \(failure.message)\n")
    } catch {
      // Cancelled: the program says so once, at its end.
    }
  }
}

extension Failure {
  fileprivate var json: String {
    let quoted = message.unicodeScalars.map { scalar in
      scalar == "\"" || scalar == "\\" ? "\\\(scalar)" : scalar.value < 0x20 ? " " : String(scalar)
    }.joined()
    return "{\"status\": \(exitStatus), \"message\": \"\(quoted)\"}"
  }
}
