import CPetar
import Foundation
import Glibc
import Petar

/// metrics.jsonl: a JSON object a line, for each step, and for each measurement on the validation split.
struct MetricsFile {
  private let path: String
  private let stage: String

  /// - Parameter stepsDone: lines of this stage behind it are of steps that will be taken again, and go.
  init(path: String, stage: String, stepsDone: Int) throws {
    self.path = path
    self.stage = stage
    guard let found = FileManager.default.contents(atPath: path) else { return }
    let mark = "{\"stage\": \"\(stage)\", \"step\": "
    let kept = String(decoding: found, as: UTF8.self).split(separator: "\n").filter { line in
      guard line.hasPrefix(mark) else { return true }
      return (Int(line.dropFirst(mark.count).prefix { $0.isNumber }) ?? .max) <= stepsDone
    }
    let text = kept.map { $0 + "\n" }.joined()
    try replaceFile(Array(text.utf8), path: path)
  }

  func append(_ step: TrainingStep) throws {
    let place: [(String, JSON)] = [("stage", .string(stage)), ("step", .integer(step.step))]
    var lines = [
      place + [
        ("loss", .number(step.loss)), ("learning_rate", .number(step.learningRate)),
        ("gradient_norm", .number(step.gradientNorm)), ("tokens_per_second", .number(step.tokensPerSecond.rounded())),
        ("seconds", .number((step.seconds * 1e3).rounded() / 1e3)),
      ]
    ]
    if let loss = step.validationLoss { lines.append(place + [("validation_loss", .number(loss))]) }
    let text = lines.map { JSON.object($0).text + "\n" }.joined()
    let descriptor = open(path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0o644)
    guard descriptor >= 0 else { throw fileError(path, errno) }
    defer { close(descriptor) }
    let bytes = Array(text.utf8)
    let count = bytes.withUnsafeBytes { Glibc.write(descriptor, $0.baseAddress, $0.count) }
    guard count == bytes.count else { throw fileError(path, count < 0 ? errno : ENOSPC) }
  }
}
