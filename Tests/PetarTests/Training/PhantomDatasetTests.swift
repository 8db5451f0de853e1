import CPetar
import Foundation
import Petar
import PetarTraining
import Testing

/// Two small sets of the same seed, made once: by one thread and by two.
private enum Phantoms {
  static let exams = 3
  static let folder = folderUntilExit()

  static let made: Result<(PhantomDataset.Summary, String, String), any Error> = Result {
    let (one, two) = (folder + "/one", folder + "/two")
    let summary = try PhantomDataset(folder: one, exams: exams, seed: 11).write(threads: 1) { _, _ in }
    _ = try PhantomDataset(folder: two, exams: exams, seed: 11).write(threads: 2) { _, _ in }
    return (summary, one, two)
  }
}

private struct Line: Decodable {
  struct Attributes: Decodable {
    let organ: String
    let laterality: String?
  }
  let exam, patient, task, map, question, answer, split: String
  let label: Int32
  let attributes: Attributes?
}

private func lines(_ folder: String) throws -> [Line] {
  let text = try String(contentsOfFile: folder + "/dataset.jsonl", encoding: .utf8)
  return try text.split(separator: "\n").map { try JSONDecoder().decode(Line.self, from: Data($0.utf8)) }
}

@Suite("Phantoms: the data set")
struct PhantomDatasetTests {
  @Test("The same seed gives the same bytes, whatever the number of threads")
  func sameBytes() throws {
    let (_, one, two) = try Phantoms.made.get()
    let files = try FileManager.default.subpathsOfDirectory(atPath: one).sorted()
    #expect(try files == FileManager.default.subpathsOfDirectory(atPath: two).sorted())
    #expect(files.count { $0.hasSuffix(".nii.gz") } == 4 * Phantoms.exams)
    for file in files where !file.hasSuffix("exams") && file.contains(".") {
      #expect(
        FileManager.default.contentsEqual(atPath: one + "/" + file, andPath: two + "/" + file), "\(file) differs")
    }
  }

  @Test("Lesions fill 0.01 to 2 % of the PET, and every line names a label that is there")
  func linesAndMasks() throws {
    let (summary, folder, _) = try Phantoms.made.get()
    let lines = try lines(folder)
    #expect(lines.count == summary.findings + summary.attributeQuestions + summary.organQuestions)
    #expect(summary.findings > 2 * Phantoms.exams)
    // Lesions, asked for or not.
    #expect(summary.shares.count >= summary.findings)
    #expect(summary.shares.allSatisfy { $0 >= 0.0001 && $0 <= 0.02 })
    for (file, group) in Dictionary(grouping: lines, by: { "\(folder)/exams/\($0.exam)/\($0.map).nii.gz" }) {
      let there = Set(try Volume.read(niftiPath: file, unit: .label).labels())
      for line in group { #expect(there.contains(line.label), "\(line.label) of \(file)") }
    }
    #expect(summary.attributeQuestions == 4 * summary.findings)
    let findings = Dictionary(
      lines.filter { $0.task == "finding" }.map { ("\($0.exam) \($0.label)", $0.answer) }, uniquingKeysWith: { $1 })
    for line in lines where line.task == "attribute" {
      let finding = try #require(findings["\(line.exam) \(line.label)"])
      #expect(line.map == "lesions" && finding.contains(line.answer), "\(line.answer) is not in: \(finding)")
    }
    for line in lines where line.task == "finding" {
      let finding = try #require(LesionFinding(parsing: line.answer))
      #expect(finding.organ == line.attributes?.organ)
      #expect(finding.laterality == line.attributes?.laterality)
      let digits = line.answer.filter(\.isNumber)
      #expect(digits == "", "numbers are measured, not written")
    }
  }

  @Test("The runtime's preprocessing keeps every lesion that is asked for")
  func preprocessing() throws {
    let (_, folder, _) = try Phantoms.made.get()
    var views = ModelDescription.Views()
    views.extent = ModelDescription.Extent(16, 64, 64)
    let pool = try ThreadPool(threads: 1)
    for line in try lines(folder) where line.task == "finding" {
      let path = folder + "/exams/" + line.exam
      let exam = Exam(
        pet: try .read(niftiPath: path + "/pet.nii.gz", unit: .suv),
        ct: try .read(niftiPath: path + "/ct.nii.gz", unit: .hu),
        mask: try .read(niftiPath: path + "/lesions.nii.gz", unit: .label), label: line.label)
      let prepared = try prepareViews(exam, views, pool: pool, isCancelled: { false }, progress: { _ in })
      #expect(prepared.focal.mask.elements.count { $0 > 0 } > 20)
      // The CT covers the PET, the lesion is wholly there: there is nothing to warn of.
      #expect(prepared.warnings.isEmpty, "\(line.exam) \(line.label): \(prepared.warnings)")
    }
  }

  @Test("A patient's exams go to one split; every tenth patient is for validation, and for test")
  func splits() throws {
    let plans = PhantomDataset(folder: "", exams: 400, seed: 5).plans
    #expect(plans.count == 400)
    for (_, exams) in Dictionary(grouping: plans, by: \.patient) { #expect(Set(exams.map(\.split)).count == 1) }
    // 15 % of the patients come twice: 400 exams are of about 350 patients.
    #expect((325...375).contains(Set(plans.map(\.patient)).count))
    for split in [Dataset.Split.validation, .test] { #expect((25...60).contains(plans.count { $0.split == split })) }
    #expect(PhantomDataset(folder: "", exams: 9, seed: 5, split: .test).plans.allSatisfy { $0.split == .test })
  }

  @Test("Other seeds give other bodies")
  func otherSeeds() throws {
    let (_, folder, _) = try Phantoms.made.get()
    let other = Phantoms.folder + "/other"
    _ = try PhantomDataset(folder: other, exams: 1, seed: 12).write(threads: 1) { _, _ in }
    let first = try Volume.read(niftiPath: folder + "/exams/p00001-1/pet.nii.gz", unit: .suv)
    let second = try Volume.read(niftiPath: other + "/exams/p00001-1/pet.nii.gz", unit: .suv)
    #expect(first.grid != second.grid)
  }

  @Test("A folder that is there is left alone; what was begun and stopped is removed")
  func folders() throws {
    let (_, folder, _) = try Phantoms.made.get()
    #expect {
      try PhantomDataset(folder: folder, exams: 1, seed: 1).write(threads: 1) { _, _ in }
    } throws: { ($0 as? PetarError)?.status == PETAR_ERROR_INVALID_ARGUMENT }
    let stopped = Phantoms.folder + "/stopped"
    #expect {
      try PhantomDataset(folder: stopped, exams: 1, seed: 1).write(threads: 1) { _, _ in
        throw PetarError(PETAR_CANCELLED, "stop")
      }
    } throws: { ($0 as? PetarError)?.status == PETAR_CANCELLED }
    let left = try FileManager.default.contentsOfDirectory(atPath: Phantoms.folder)
    #expect(!left.contains { $0.hasPrefix("stopped") })
  }
}
