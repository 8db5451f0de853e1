import Petar

/// What came of a question: the model's text beside the truth, or why there is none.
package struct Answer: Sendable {
  package enum Outcome: Sendable {
    case said(String)
    /// The exam is broken, or the model failed on it: the sentence that says why.
    case failed(String)
  }

  package let question: Dataset.Question
  package let outcome: Outcome
  /// The fields of a finding that are known, and nil for one that has no value, as a laterality in the middle.
  package let truth: [FindingField: String?]
  /// The fields that the model's text holds.
  package let said: FindingFields

  package init(_ question: Dataset.Question, _ outcome: Outcome) {
    self.question = question
    self.outcome = outcome
    truth = question.task == .finding ? question.fields : [:]
    if case .said(let text) = outcome, question.task == .finding {
      said = FindingFields(reading: text)
    } else {
      said = FindingFields()
    }
  }

  package var text: String? { if case .said(let text) = outcome { text } else { nil } }
  package var failure: String? { if case .failed(let reason) = outcome { reason } else { nil } }

  /// Whether the text is the answer, character by character but for spaces around it.
  package var isExact: Bool { text?.trimmed == question.answer.trimmed }

  /// Whether the field is right; nil where the truth is not known.
  package func isRight(_ field: FindingField) -> Bool? {
    guard let truth = truth[field] else { return nil }
    // Only a text that says where the lesion is can be right in leaving a field out.
    return said[field] == truth && (truth != nil || said[.organ] != nil)
  }

  /// The part of the known attributes that is right; nil where none is known.
  package var attributeShare: Double? {
    let known = FindingField.attributes.compactMap { isRight($0) }
    return known.isEmpty ? nil : Double(known.count { $0 }) / Double(known.count)
  }
}

extension Dataset.Question {
  /// From the attributes; where a line has none, from its answer.
  fileprivate var fields: [FindingField: String?] {
    if attributes.isEmpty, let finding = LesionFinding(parsing: answer) {
      let said = FindingFields(finding)
      return Dictionary(uniqueKeysWithValues: FindingField.allCases.map { ($0, said[$0]) })
    }
    var fields: [FindingField: String?] = [:]
    for field in FindingField.allCases {
      if let value = attributes[field.rawValue] { fields.updateValue(value, forKey: field) }
    }
    return fields
  }
}

// ---- As written to predictions.jsonl -------------------------------------------------------------------------------

extension Answer {
  /// - Parameters:
  ///   - hash: of the model.
  ///   - omitted: what the model had to do without.
  package func json(hash: String, omitted: Set<OmittedInput>) -> JSON {
    var members: [(String, JSON)] = [
      ("exam", .string(question.exam)), ("patient", .string(question.patient)),
      ("task", .string(question.task.rawValue)), ("map", .string(question.map)),
      ("label", .integer(Int(question.label))), ("question", .string(question.question)),
      ("answer", .string(question.answer)),
    ]
    switch outcome {
    case .failed(let reason): members.append(("error", .string(reason)))
    case .said(let text):
      members.append(("prediction", .string(text)))
      var right: [(String, JSON)] = [("text", .bool(isExact))]
      if question.task == .finding {
        members.append(("attributes", Self.json { truth[$0] }))
        members.append(("predicted_attributes", Self.json { truth[$0] == nil ? nil : .some(said[$0]) }))
        right += FindingField.allCases.compactMap { field in isRight(field).map { (field.rawValue, .bool($0)) } }
      }
      members.append(("right", .object(right)))
    }
    members.append(("without", .array(omitted.names.map { .string($0) })))
    members.append(("model", .string(hash)))
    members.append(("library", .string("\(Library.version)")))
    return .object(members)
  }

  private static func json(_ value: (FindingField) -> String??) -> JSON {
    .object(
      FindingField.allCases.compactMap { field in
        value(field).map { (field.rawValue, $0.map { .string($0) } ?? .null) }
      })
  }
}
