import PetarConsole
import PetarTraining

/// An evaluation for people: a table of scores, the most frequent errors, findings beside their truth.
struct EvaluationText {
  private let evaluation: Evaluation

  init(_ evaluation: Evaluation) { self.evaluation = evaluation }

  private static let mostConfusions = 12
  private static let mostSamples = 3

  var text: String {
    let scores = evaluation.scores
    let omitted = evaluation.omitted.names
    var lines = [
      "\(evaluation.folder), \(evaluation.selection.split): \(scores.text.count) findings, "
        + "\(scores.answers(.attribute).count) attribute questions, \(scores.answers(.organ).count) organ questions, \(scores.failures.count) failed"
        + (omitted.isEmpty ? "" : "; without \(omitted.joined(separator: ", "))"),
      "model \(evaluation.hash)", "",
      "                    right     of       %   95 % interval",
    ]
    lines += rows.filter { $0.1.count > 0 }.map { Self.row($0.0, $0.1) }
    let confusions = scores.confusions.prefix(Self.mostConfusions)
    if !confusions.isEmpty {
      lines += ["", "Most frequent errors: truth -> said"]
      lines += confusions.map { confusion, count in
        "  \("\(count)".padded(-4))  \(confusion.field.padded(11))"
          + "\(confusion.truth ?? "(none)") -> \(Self.short(confusion.said ?? "(not said)"))"
      }
    }
    lines += samples("Findings that are right", exact: true)
    lines += samples("Findings that are not", exact: false)
    return lines.joined(separator: "\n")
  }

  private var rows: [(String, Proportion)] {
    let scores = evaluation.scores
    func field(_ field: FindingField) -> (String, Proportion) {
      (field.rawValue, scores.fields[field] ?? Proportion())
    }
    return [("whole text", scores.text), field(.organ), field(.laterality)]
      + FindingField.attributes.map { field($0) }
      + [
        ("attributes (mean)", scores.attributes), ("attribute answers", scores.answers(.attribute)),
        ("organ answers", scores.answers(.organ)),
      ]
  }

  private static func row(_ name: String, _ score: Proportion) -> String {
    guard let share = score.share, let interval = score.interval else { return name }
    let right = tenths(score.right)
    return name.padded(18) + (right.hasSuffix(".0") ? String(right.dropLast(2)) : right).padded(-7)
      + "\(score.count)".padded(-7) + tenths(100 * share).padded(-8) + "   "
      + "\(tenths(100 * interval.lowerBound)) to \(tenths(100 * interval.upperBound))"
  }

  private func samples(_ title: String, exact: Bool) -> [String] {
    let some = evaluation.answers.filter {
      $0.question.task == .finding && $0.text != nil && $0.isExact == exact
    }.prefix(Self.mostSamples)
    guard !some.isEmpty else { return [] }
    return ["", title]
      + some.flatMap { answer in
        [
          "  \(answer.question.exam), label \(answer.question.label)", "    truth  \(answer.question.answer)",
          "    said   \(answer.text ?? "")",
        ]
      }
  }

  private static func tenths(_ value: Double) -> String { decimal(value, digits: 1) }

  /// Cut where a model has gone astray.
  private static func short(_ text: String) -> String { text.count > 60 ? text.prefix(60) + "..." : text }
}
