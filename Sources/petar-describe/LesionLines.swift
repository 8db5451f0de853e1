import CPetar
import Petar
import PetarConsole

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
        throw PetarError(status, message.map { String(cString: $0) } ?? "")
      }
      let json = try string { petar_finding_json(finding, $0, $1) }
      Console.out("{\"label\": \(label), " + json.dropFirst() + "\n")
    } catch let error as PetarError where error.status != PETAR_CANCELLED {
      anyFailed = true
      let line = JSON.object([
        ("label", .integer(Int(label))),
        ("error", .object([("status", .integer(Int(error.status.rawValue))), ("message", .string(error.message))])),
      ])
      Console.out(line.text + "\n")
      Console.error("petar-describe: label \(label): \(error.message)\n")
    } catch {
      // Cancelled: the program says so once, at its end.
    }
  }
}
