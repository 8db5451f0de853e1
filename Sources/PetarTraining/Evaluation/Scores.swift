import Petar

/// How often a model is right, and where it errs.
package struct Scores: Sendable {
  /// What was said in place of what.
  package struct Confusion: Sendable, Hashable {
    /// The field's name; "answer" for a question about one thing.
    package let field: String
    package let truth: String?
    package let said: String?

    package init(field: String, truth: String?, said: String?) {
      self.field = field
      self.truth = truth
      self.said = said
    }
  }

  /// Findings whose whole text is right.
  package private(set) var text = Proportion()
  /// Findings in which the field is right, of those whose truth is known.
  package private(set) var fields: [FindingField: Proportion] = [:]
  /// Mean over findings of the part of `FindingField.attributes` that is right.
  package private(set) var attributes = Proportion()
  package private(set) var failures: [Answer] = []
  private var counts: [Confusion: Int] = [:]
  private var answers: [Dataset.Task: Proportion] = [:]

  package init(_ answers: some Sequence<Answer>) {
    for answer in answers { add(answer) }
  }

  /// Questions about an organ or an attribute whose answer is right.
  package func answers(_ task: Dataset.Task) -> Proportion { answers[task] ?? Proportion() }

  /// Most frequent first.
  package var confusions: [(confusion: Confusion, count: Int)] {
    func name(_ confusion: Confusion) -> String {
      "\(confusion.field) \(confusion.truth ?? "") \(confusion.said ?? "")"
    }
    return counts.map { ($0, $1) }.sorted { ($1.count, name($0.confusion)) < ($0.count, name($1.confusion)) }
  }

  private mutating func add(_ answer: Answer) {
    guard let said = answer.text else {
      failures.append(answer)
      return
    }
    switch answer.question.task {
    case .organ, .attribute:
      answers[answer.question.task, default: Proportion()].add(answer.isExact)
      if !answer.isExact { confuse("answer", answer.question.answer, said) }
    case .finding:
      text.add(answer.isExact)
      for field in FindingField.allCases {
        guard let right = answer.isRight(field), let truth = answer.truth[field] else { continue }
        fields[field, default: Proportion()].add(right)
        if !right { confuse(field.rawValue, truth, answer.said[field]) }
      }
      if let share = answer.attributeShare { attributes.add(share) }
    }
  }

  private mutating func confuse(_ field: String, _ truth: String?, _ said: String?) {
    counts[Confusion(field: field, truth: truth, said: said), default: 0] += 1
  }
}

// ---- As JSON -------------------------------------------------------------------------------------------------------

extension Scores {
  /// Of the confusions, this many are written down.
  private static let mostConfusions = 50

  package var json: JSON {
    let confusions = confusions.prefix(Self.mostConfusions).map { confusion, count in
      JSON.object([
        ("field", .string(confusion.field)), ("truth", confusion.truth.map { .string($0) } ?? .null),
        ("said", confusion.said.map { .string($0) } ?? .null), ("count", .integer(count)),
      ])
    }
    let failures = failures.map { answer in
      JSON.object([
        ("exam", .string(answer.question.exam)), ("map", .string(answer.question.map)),
        ("label", .integer(Int(answer.question.label))), ("error", .string(answer.failure ?? "")),
      ])
    }
    return .object([
      (
        "findings",
        .object(
          [("text", text.json)]
            + FindingField.allCases.map { ($0.rawValue, (fields[$0] ?? Proportion()).json) }
            + [("attributes_mean", attributes.json)])
      ),
      ("organ_answers", answers(.organ).json),
      ("attribute_answers", answers(.attribute).json), ("confusions", .array(confusions)),
      ("failed", .integer(self.failures.count)),
      ("failures", .array(failures)),
    ])
  }
}

extension Proportion {
  package var json: JSON {
    .object([
      ("right", .number(right)), ("count", .integer(count)), ("share", .optional(share)),
      ("interval_95", interval.map { .numbers([$0.lowerBound, $0.upperBound]) } ?? .null),
    ])
  }
}
