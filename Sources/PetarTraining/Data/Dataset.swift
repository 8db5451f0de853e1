import CPetar
import Foundation
import Petar
import PetarConversion

/// A folder of exams with questions about what is marked in them: docs/dataset.md.
package struct Dataset: Sendable {
  package enum Task: String, CaseIterable, Sendable { case finding, attribute, organ }

  package enum Split: String, CaseIterable, Sendable { case train, validation, test }

  /// A line of dataset.jsonl.
  package struct Question: Sendable, Equatable {
    package let exam: String
    package let patient: String
    package let task: Task
    /// Name of the label map, without `.nii.gz`.
    package let map: String
    package let label: Int32
    package let question: String
    package let answer: String
    package let split: Split
    /// The answer's fields one by one, for evaluation; nil for a field that says nothing.
    package let attributes: [String: String?]
  }

  package let folder: String
  package let questions: [Question]
  /// Of dataset.jsonl, in hexadecimal digits.
  package let sha256: String

  /// - Throws: `PETAR_ERROR_IO`; `PETAR_ERROR_BAD_FILE` for a line that is no question, named by its number, and for a
  ///   patient or exam whose questions are in two splits.
  package init(folder: String) throws {
    self.folder = folder
    let path = folder + "/dataset.jsonl"
    guard let bytes = FileManager.default.contents(atPath: path) else {
      throw PetarError(PETAR_ERROR_IO, "cannot read \(path): docs/dataset.md says how a data set is laid out")
    }
    let text = [UInt8](bytes)
    sha256 = hexadecimal(SHA256.digest(text))
    questions = try text.split(separator: UInt8(ascii: "\n"), omittingEmptySubsequences: false).enumerated()
      .compactMap { index, line in
        line.allSatisfy { $0 == 32 || $0 == 13 } ? nil : try Question(Array(line), source: "\(path):\(index + 1)")
      }
    guard !questions.isEmpty else { throw PetarError(PETAR_ERROR_BAD_FILE, "\(path): there are no questions in it") }
    try Self.checkSplits(questions, by: \.patient, "patient", path)
    // The same exam under the names of two patients.
    try Self.checkSplits(questions, by: \.exam, "exam", path)
  }

  package func path(exam: String, _ name: String) -> String { "\(folder)/exams/\(exam)/\(name).nii.gz" }

  /// A patient known from training would make a model look better than it is.
  private static func checkSplits(
    _ questions: [Question], by key: KeyPath<Question, String>, _ name: String, _ path: String
  ) throws {
    var splits: [String: Split] = [:]
    for question in questions {
      let first = splits[question[keyPath: key]] ?? question.split
      guard first == question.split else {
        throw PetarError(
          PETAR_ERROR_BAD_FILE,
          "\(path): \(name) \(question[keyPath: key]) is in the splits \(first) and \(question.split); put all exams of "
            + "a patient in one of them")
      }
      splits[question[keyPath: key]] = first
    }
  }
}

extension Dataset.Question {
  fileprivate init(_ line: [UInt8], source: String) throws {
    let members = try JSONValue.object(line, source: source)
    func fail(_ name: String, _ wanted: String) -> PetarError {
      let written = members[name].map { "\"\(name)\" is \($0.written)" } ?? "\"\(name)\" is missing"
      return PetarError(PETAR_ERROR_BAD_FILE, "\(source): \(written); \(wanted) is expected")
    }
    func text(_ name: String) throws -> String {
      guard let text = members[name]?.text, !text.isEmpty else { throw fail(name, "a text") }
      return text
    }
    func fileName(_ name: String) throws -> String {
      let text = try text(name)
      guard !text.contains("/"), !text.hasPrefix(".") else { throw fail(name, "a name without a folder") }
      return text
    }
    exam = try fileName("exam")
    patient = members["patient"] == nil ? exam : try text("patient")
    guard let task = Dataset.Task(rawValue: try text("task")) else {
      throw fail("task", "\"finding\", \"attribute\" or \"organ\"")
    }
    self.task = task
    map = try fileName("map")
    guard let label = members["label"]?.integer.flatMap({ Int32(exactly: $0) }), label > 0 else {
      throw fail("label", "a whole number above 0")
    }
    self.label = label
    question = try text("question")
    answer = try text("answer")
    guard let split = Dataset.Split(rawValue: try text("split")) else {
      throw fail("split", "\"train\", \"validation\" or \"test\"")
    }
    self.split = split
    var attributes: [String: String?] = [:]
    for (name, value) in members["attributes"]?.members ?? [] {
      guard value.isNull || value.text != nil else { throw fail("attributes", "texts or null") }
      attributes.updateValue(value.text, forKey: name)
    }
    self.attributes = attributes
  }
}
