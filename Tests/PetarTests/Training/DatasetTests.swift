import CPetar
import Petar
import PetarTraining
import Testing

@Suite("Training: the data set's lines") struct DatasetTests {
  private static let line =
    #"{"exam": "e1", "patient": "p1", "task": "finding", "map": "lesions", "label": 2, "question": "What?", "#
    + #""answer": "A node.", "split": "train", "attributes": {"organ": "lymph node", "laterality": null}}"#

  private func dataset(_ lines: [String]) throws -> Dataset {
    try withTemporaryFolder { folder in
      try writeText(lines.joined(separator: "\n"), to: folder + "/dataset.jsonl")
      return try Dataset(folder: folder)
    }
  }

  @Test("A line is read as it is written") func line() throws {
    let set = try dataset([Self.line, "", Self.line.replacing("e1", with: "e2").replacing("p1", with: "p2") + "\r"])
    #expect(set.questions.map(\.exam) == ["e1", "e2"])
    let first = try #require(set.questions.first)
    #expect(first.patient == "p1")
    #expect(first.task == .finding && first.map == "lesions" && first.label == 2 && first.split == .train)
    #expect(first.question == "What?" && first.answer == "A node.")
    #expect(first.attributes == ["organ": "lymph node", "laterality": nil])
  }

  @Test("Without a patient, each exam is one of its own") func noPatient() throws {
    let set = try dataset([Self.line.replacing(#""patient": "p1", "#, with: "")])
    #expect(set.questions.first?.patient == "e1")
  }

  @Test("A patient in two splits is an error that names it") func leak() throws {
    let error = try #require(throws: PetarError.self) {
      try dataset([Self.line, Self.line.replacing("train", with: "test").replacing("e1", with: "e2")])
    }
    #expect(error.status == PETAR_ERROR_BAD_FILE)
    #expect(error.message.contains("patient p1"))
  }

  @Test("An exam in two splits is an error that names it, whoever's it is said to be") func leakOfAnExam() throws {
    let error = try #require(throws: PetarError.self) {
      try dataset([Self.line, Self.line.replacing("train", with: "test").replacing("p1", with: "p2")])
    }
    #expect(error.status == PETAR_ERROR_BAD_FILE)
    #expect(error.message.contains("exam e1"))
  }

  @Test(
    "What is wrong with a line is said, with its number",
    arguments: [
      (#""label": 2"#, #""label": 0"#, "label"), (#""label": 2"#, #""label": 1.5"#, "label"),
      (#""task": "finding""#, #""task": "find""#, "task"), (#""split": "train""#, #""split": "dev""#, "split"),
      (#""exam": "e1""#, #""exam": "../e1""#, "exam"), (#""answer": "A node.""#, #""answer": """#, "answer"),
      (#""map": "lesions", "#, "", "map"), ("}}", "}", "JSON"), (#""lymph node""#, "3", "attributes"),
    ])
  func badLine(_ from: String, _ to: String, _ named: String) throws {
    let error = try #require(throws: PetarError.self) { try dataset([Self.line, Self.line.replacing(from, with: to)]) }
    #expect(error.status == PETAR_ERROR_BAD_FILE)
    #expect(error.message.contains("dataset.jsonl:2") && error.message.contains(named), "\(error.message)")
  }
}
