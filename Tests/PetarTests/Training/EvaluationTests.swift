import Foundation
import Petar
import PetarTraining
import Testing

private let truth =
  "Region: pelvis. Organ: hip bone. Sub-site: iliac wing. Laterality: right. Findings: round lesion with intense FDG "
  + "uptake, lytic on CT."
private let middle =
  "Region: abdomen. Organ: liver. Sub-site: segment 4. Findings: ring-shaped lesion with mild DOTATATE uptake, "
  + "hypodense on CT."

/// A line of dataset.jsonl about the lesion with that finding.
private func line(_ answer: String, task: String = "finding", label: Int = 1, attributes: String = "") -> String {
  #"{"exam": "e1", "task": "\#(task)", "map": "lesions", "label": \#(label), "question": "What is it?", "#
    + #""answer": "\#(answer)", "split": "test"\#(attributes)}"#
}

private func questions(_ lines: String...) throws -> [Dataset.Question] {
  let folder = FileManager.default.temporaryDirectory.appending(path: "petar-evaluation-\(UUID().uuidString)").path()
  try FileManager.default.createDirectory(atPath: folder, withIntermediateDirectories: true)
  defer { try? FileManager.default.removeItem(atPath: folder) }
  try lines.joined(separator: "\n").write(toFile: folder + "/dataset.jsonl", atomically: true, encoding: .utf8)
  return try Dataset(folder: folder).questions(.init(split: .test))
}

@Suite("Evaluation: scores")
struct EvaluationTests {
  /// Newcombe, Statistics in Medicine 17 (1998), table I, method 3: to the four digits printed there.
  @Test(
    "Wilson's interval is the published one",
    arguments: [
      (81.0, 263, 0.2553, 0.3662), (15.0, 148, 0.0624, 0.1605), (0.0, 20, 0.0, 0.1611), (1.0, 29, 0.0061, 0.1718),
    ])
  func wilson(right: Double, count: Int, lower: Double, upper: Double) throws {
    let interval = try #require(Proportion(right: right, count: count).interval)
    #expect(abs(interval.lowerBound - lower) <= 0.00005)
    #expect(abs(interval.upperBound - upper) <= 0.00005)
  }

  @Test("The interval of none, of all and of no answers")
  func ends() throws {
    #expect(try #require(Proportion(right: 0, count: 5).interval).lowerBound == 0)
    #expect(try #require(Proportion(right: 5, count: 5).interval).upperBound == 1)
    #expect(Proportion().share == nil && Proportion().interval == nil)
  }

  @Test("Findings are scored field by field")
  func findings() throws {
    let asked = try questions(line(truth), line(truth, label: 2), line(middle, label: 3), line(middle, label: 4))
    let said = [
      truth,
      truth.replacingOccurrences(of: "right", with: "left").replacingOccurrences(of: "lytic", with: "sclerotic"),
      middle,
      middle.replacingOccurrences(of: "Findings", with: "Laterality: left. Findings"),
    ]
    let scores = Scores(zip(asked, said).map { Answer($0, .said($1)) })
    #expect(scores.text == Proportion(right: 2, count: 4))
    #expect(scores.fields[.organ] == Proportion(right: 4, count: 4))
    #expect(scores.fields[.laterality] == Proportion(right: 2, count: 4))
    #expect(scores.fields[.ct] == Proportion(right: 3, count: 4))
    #expect(scores.fields[.tracer] == Proportion(right: 4, count: 4))
    // Three findings with six attributes right, one with five.
    #expect(scores.attributes.count == 4)
    #expect(abs(scores.attributes.right - (3 + 5.0 / 6)) < 1e-12)
    #expect(scores.answers(.organ).count == 0)
    #expect(scores.confusions.map(\.count) == [1, 1, 1])
    let confusions = Set(scores.confusions.map(\.confusion))
    #expect(
      confusions == [
        .init(field: "ct", truth: "lytic", said: "sclerotic"), .init(field: "laterality", truth: "right", said: "left"),
        .init(field: "laterality", truth: nil, said: "left"),
      ])
  }

  @Test("The most frequent error comes first")
  func confusionOrder() throws {
    let asked = try questions(
      line("liver", task: "organ"), line("spleen", task: "organ", label: 2), line("spleen", task: "organ", label: 3),
      line("aorta", task: "organ", label: 4))
    let scores = Scores(zip(asked, ["spleen", "liver", "liver", "aorta"]).map { Answer($0, .said($1)) })
    #expect(scores.answers(.organ) == Proportion(right: 1, count: 4))
    #expect(scores.confusions.map(\.confusion.truth) == ["spleen", "liver"])
    #expect(scores.confusions.map(\.count) == [2, 1])
    #expect(scores.text.count == 0)
  }

  @Test("Attributes of the line count before its answer, and those it does not give are not scored")
  func attributes() throws {
    let asked = try questions(
      line(truth, attributes: #", "attributes": {"organ": "sacrum", "laterality": null}"#))
    let scores = Scores([Answer(asked[0], .said(truth))])
    #expect(scores.text == Proportion(right: 1, count: 1))
    #expect(scores.fields == [.organ: Proportion(right: 0, count: 1), .laterality: Proportion(right: 0, count: 1)])
    #expect(scores.attributes.count == 0)
  }

  @Test("An exam that cannot be described is a failure and in no score")
  func failures() throws {
    let asked = try questions(line(truth), line("liver", task: "organ", label: 2))
    let scores = Scores(asked.map { Answer($0, .failed("the mask is empty")) })
    #expect(scores.failures.count == 2 && scores.text.count == 0 && scores.answers(.organ).count == 0)
    #expect(scores.json.text.contains("the mask is empty"))
  }

  @Test("Questions are taken evenly from the split")
  func limit() throws {
    let lines = (1...10).map { line(truth, label: $0) }.joined(separator: "\n")
    let all = try questions(lines)
    #expect(all.map(\.label) == Array(1...10))
    let folder = FileManager.default.temporaryDirectory.appending(path: "petar-limit-\(getpid())").path()
    try FileManager.default.createDirectory(atPath: folder, withIntermediateDirectories: true)
    defer { try? FileManager.default.removeItem(atPath: folder) }
    try lines.write(toFile: folder + "/dataset.jsonl", atomically: true, encoding: .utf8)
    let dataset = try Dataset(folder: folder)
    #expect(try dataset.questions(.init(split: .test, limit: 4)).map(\.label) == [1, 3, 6, 8])
    #expect(try dataset.questions(.init(split: .test, limit: 40)) == all)
    #expect(throws: PetarError.self) { try dataset.questions(.init(split: .train)) }
    #expect(throws: PetarError.self) { try dataset.questions(.init(split: .test, task: .organ)) }
  }
}

@Suite("Evaluation: reading a model's text")
struct FindingFieldsTests {
  @Test("A finding as it is to be written")
  func strict() throws {
    let fields = FindingFields(reading: truth)
    #expect(
      fields.values == [
        .region: "pelvis", .organ: "hip bone", .subSite: "iliac wing", .laterality: "right", .morphology: "round",
        .uptake: "intense", .tracer: "FDG", .ct: "lytic",
      ])
    #expect(FindingFields(reading: middle)[.laterality] == nil)
  }

  @Test("What strays is read as far as it goes")
  func lenient() {
    // Cut off by the limit of tokens.
    #expect(
      FindingFields(reading: String(truth.prefix(44))).values == [.region: "pelvis", .organ: "hip bone", .subSite: "i"])
    // Another order, a line break, no full stop; words that are not in the schema.
    let fields = FindingFields(reading: "organ: liver\nLaterality : left. Findings: spiky lesion with intense uptake")
    #expect(fields.values == [.organ: "liver", .laterality: "left", .morphology: "spiky", .uptake: "intense"])
    #expect(
      FindingFields(reading: "Findings: calcified node on CT, round lesion with mild FDG uptake").values == [
        .morphology: "round", .uptake: "mild", .tracer: "FDG", .ct: "calcified node",
      ])
    // What is said first counts.
    #expect(FindingFields(reading: "Organ: liver. Organ: spleen.").values == [.organ: "liver"])
    for text in ["", ".", ":", ": .", "Organ:", "Findings:", "Findings: lesion", "Findings: on CT", "no finding"] {
      #expect(FindingFields(reading: text).values.isEmpty, "\(text)")
    }
  }

  @Test("An empty text is right in nothing, not even in naming no side")
  func nothingSaid() throws {
    let scores = Scores([Answer(try questions(line(middle))[0], .said(""))])
    #expect(scores.fields.count == FindingField.allCases.count)
    for score in scores.fields.values { #expect(score == Proportion(right: 0, count: 1)) }
  }
}

@Suite("Evaluation: views without an input")
struct OmittedInputTests {
  private static func views() throws -> Views {
    func buffer(_ value: Float) throws -> Buffer<Float> {
      let buffer = try Buffer<Float>(count: 8)
      buffer.elements.update(repeating: value)
      return buffer
    }
    return Views(
      extent: .init(2, 2, 2), global: .init(pet: try buffer(1), mask: try buffer(2), ct: try buffer(3)),
      focal: .init(pet: try buffer(4), mask: try buffer(5), ct: try buffer(6)), warnings: ["a warning"])
  }

  @Test(
    "Mask and CT become zeros, the focal view becomes the global one",
    arguments: [
      ([], [1, 2, 3, 4, 5, 6]), ([.mask], [1, 0, 3, 4, 0, 6]), ([.ct], [1, 2, 0, 4, 5, 0]),
      ([.focal], [1, 2, 3, 1, 2, 3]), ([.mask, .ct, .focal], [1, 0, 0, 1, 0, 0]),
    ] as [(Set<OmittedInput>, [Float])])
  func values(omitted: Set<OmittedInput>, expected: [Float]) throws {
    let views = try OmittedInput.apply(omitted, to: Self.views())
    #expect(views.arrays.map { Array($0.elements) } == expected.map { Array(repeating: $0, count: 8) })
    #expect(views.warnings == ["a warning"])
  }
}
