import CPetar
import Glibc
import Petar
import Synchronization

/// What `petar-train phantom` makes: a data-set folder as docs/dataset.md describes it.
package struct PhantomDataset: Sendable {
  /// The paper's question, and the one of the pre-training on organs.
  package static let findingQuestion = "Please describe the region highlighted in the PET image."
  package static let organQuestion = "Which organ is highlighted in the image?"
  package static let version = 2

  /// One exam of one patient.
  package struct Plan: Sendable {
    package let patient: Int
    package let visit: Int
    package let name: String
    package let split: Dataset.Split
  }

  package struct Summary: Sendable {
    package var exams = 0
    package var patients = 0
    package var findings = 0
    package var attributeQuestions = 0
    package var organQuestions = 0
    /// Lesions about which nothing is asked, because the released preprocessing would cut them off.
    package var withoutQuestion = 0
    /// Each lesion's part of its PET's volume.
    package var shares: [Double] = []
    package var findingsOfTracer: [Tracer: Int] = [:]
    /// Processor time of one exam in seconds: mean over the exams.
    package var secondsPerExam = 0.0
  }

  let folder: String
  let seed: UInt64
  package let plans: [Plan]

  /// - Parameters:
  ///   - exams: 1 or more.
  ///   - split: where every exam goes; nil for one patient in ten each to validation and test.
  package init(folder: String, exams: Int, seed: UInt64, split: Dataset.Split? = nil) {
    self.folder = folder.count > 1 && folder.hasSuffix("/") ? String(folder.dropLast()) : folder
    self.seed = seed
    var plans: [Plan] = []
    var patient = 0
    while plans.count < exams {
      patient += 1
      var random = PhantomRandom(seed, UInt64(patient), 5)
      let part: Dataset.Split = patient % 10 == 2 ? .validation : patient % 10 == 3 ? .test : .train
      for visit in 0..<(random.chance(0.15) ? 2 : 1) where plans.count < exams {
        let digits = String(patient)
        let name = "p" + String(repeating: "0", count: max(5 - digits.count, 0)) + digits + "-\(visit + 1)"
        plans.append(Plan(patient: patient, visit: visit, name: name, split: split ?? part))
      }
    }
    self.plans = plans
  }

  /// Makes all exams, `threads` at a time. The folder appears under its name when it is complete, or not at all.
  /// - Parameter progress: called after each exam; what it throws ends the work.
  /// - Throws: `PETAR_ERROR_IO`; `PETAR_ERROR_INVALID_ARGUMENT` if the folder is there already.
  package func write(threads: Int, progress: @escaping @Sendable (_ done: Int, _ total: Int) throws -> Void) throws
    -> Summary
  {
    guard access(folder, F_OK) != 0 else {
      throw PetarError(
        PETAR_ERROR_INVALID_ARGUMENT, "\(folder) is there already; give a new name, nothing is overwritten")
    }
    let partial = folder + ".partial-\(getpid())"
    do {
      try makeFolder(partial)
      try makeFolder(partial + "/exams")
      let records = try writeExams(into: partial + "/exams", threads: threads, progress: progress)
      try writeFile(
        Array(records.flatMap(\.lines).joined(separator: "\n").utf8) + [10], path: partial + "/dataset.jsonl")
      try writeFile(Array(description(records).utf8), path: partial + "/dataset.json")
      guard rename(partial, folder) == 0 else { throw fileError(folder, errno) }
      return summary(records)
    } catch {
      removePartial(partial)
      throw error
    }
  }

  private func writeExams(
    into exams: String, threads: Int, progress: @escaping @Sendable (Int, Int) throws -> Void
  ) throws -> [Record] {
    struct State {
      var records: [Record?]
      var done = 0
      var failure: (any Error)?
    }
    let state = Mutex(State(records: Array(repeating: nil, count: plans.count)))
    try ThreadPool(threads: threads).run(plans.count) { index in
      guard state.withLock({ $0.failure == nil }) else { return }
      do {
        let record = try writeExam(plans[index], into: exams)
        try state.withLock { state in
          state.records[index] = record
          state.done += 1
          try progress(state.done, plans.count)
        }
      } catch {
        state.withLock { $0.failure = $0.failure ?? error }
      }
    }
    return try state.withLock { state in
      if let failure = state.failure { throw failure }
      return state.records.compactMap { $0 }
    }
  }

  private func writeExam(_ plan: Plan, into exams: String) throws -> Record {
    let start = processorSeconds()
    let exam = PhantomExam(dataset: seed, patient: plan.patient, visit: plan.visit)
    let folder = exams + "/" + plan.name
    try makeFolder(folder)
    let note = "petar phantom \(seed)/\(plan.name), not a patient: "
    try NIfTIWriter.write(
      exam.pet, grid: exam.petGrid, slope: PhantomExam.petStep, note: note + "SUVbw, \(exam.patient.tracer.rawValue)",
      path: folder + "/pet.nii.gz")
    try NIfTIWriter.write(exam.ct, grid: exam.ctGrid, note: note + "HU", path: folder + "/ct.nii.gz")
    try NIfTIWriter.write(exam.lesionMap, grid: exam.petGrid, note: note + "lesions", path: folder + "/lesions.nii.gz")
    try NIfTIWriter.write(exam.organs, grid: exam.petGrid, note: note + "organs", path: folder + "/organs.nii.gz")
    return Record(plan, exam, seconds: processorSeconds() - start)
  }

  private func removePartial(_ folder: String) {
    for plan in plans {
      let exam = folder + "/exams/" + plan.name
      for name in ["pet", "ct", "lesions", "organs"] { unlink(exam + "/\(name).nii.gz") }
      rmdir(exam)
    }
    for name in ["dataset.jsonl", "dataset.json"] { unlink(folder + "/" + name) }
    rmdir(folder + "/exams")
    rmdir(folder)
  }

  private func makeFolder(_ path: String) throws {
    guard mkdir(path, 0o755) == 0 else { throw fileError(path, errno) }
  }

  private func description(_ records: [Record]) -> String {
    let members: [(String, JSON)] = [
      ("name", .string("PETAR phantoms")), ("version", .integer(Self.version)),
      ("seed", .string(String(seed))), ("license", .string("CC0-1.0")),
      ("note", .string("Procedural phantoms, not patients. For research use only.")),
      ("exams", .array(records.map(\.description))),
    ]
    return JSON.object(members).text + "\n"
  }

  private func summary(_ records: [Record]) -> Summary {
    var summary = Summary()
    summary.exams = records.count
    summary.patients = Set(plans.map(\.patient)).count
    for record in records {
      summary.findings += record.findings.count
      summary.attributeQuestions += record.attributes.count
      summary.organQuestions += record.organs.count
      summary.withoutQuestion += record.shares.count - record.findings.count
      summary.shares += record.shares
      summary.findingsOfTracer[record.tracer, default: 0] += record.findings.count
      summary.secondsPerExam += record.seconds / Double(records.count)
    }
    return summary
  }
}

/// Processor time of this thread.
private func processorSeconds() -> Double {
  var time = timespec()
  clock_gettime(CLOCK_THREAD_CPUTIME_ID, &time)
  return Double(time.tv_sec) + Double(time.tv_nsec) * 1e-9
}

/// What is said about one exam.
private struct Record: Sendable {
  let findings: [String]
  let attributes: [String]
  let organs: [String]
  let shares: [Double]
  let tracer: Tracer
  let seconds: Double
  let description: JSON

  var lines: [String] { findings + attributes + organs }

  init(_ plan: PhantomDataset.Plan, _ exam: PhantomExam, seconds: Double) {
    func line(
      _ task: Dataset.Task, _ map: String, _ label: UInt8, _ question: String, _ answer: String,
      _ more: [(String, JSON)]
    )
      -> String
    {
      JSON.object(
        [
          ("exam", .string(plan.name)), ("patient", .string("p\(plan.patient)")), ("task", .string(task.rawValue)),
          ("map", .string(map)), ("label", .integer(Int(label))), ("question", .string(question)),
          ("answer", .string(answer)), ("split", .string(plan.split.rawValue)),
        ] + more
      ).text
    }
    findings = exam.lesions.filter(\.kept).map { lesion in
      line(
        .finding, "lesions", lesion.label, PhantomDataset.findingQuestion, lesion.finding.text,
        [("attributes", lesion.finding.json)])
    }
    attributes = exam.lesions.filter(\.kept).flatMap { lesion in
      lesion.finding.questions.map { line(.attribute, "lesions", lesion.label, $0.question, $0.answer, []) }
    }
    organs = exam.organLabels.map { label in
      line(
        .organ, "organs", label, PhantomDataset.organQuestion,
        AnatomicalClass.spoken(AnatomicalClass.names[Int(label) - 1]), [])
    }
    self.seconds = seconds
    shares = exam.lesions.map(\.share)
    tracer = exam.patient.tracer
    let patient = exam.patient
    description = .object([
      ("exam", .string(plan.name)), ("patient", .string("p\(plan.patient)")), ("split", .string(plan.split.rawValue)),
      ("tracer", .string(patient.tracer.rawValue)), ("sex", .string(patient.male ? "male" : "female")),
      ("arms", .string(patient.arms == .up ? "up" : "down")), ("contrast", .bool(patient.enhanced)),
      ("lesions", .integer(exam.lesions.count)),
    ])
  }
}

extension LesionFinding {
  /// What can be asked of the lesion itself, one thing at a time.
  fileprivate var questions: [(question: String, answer: String)] {
    [
      ("What is its shape?", morphology.rawValue), ("How intense is the uptake?", uptake.rawValue),
      ("Which tracer is it?", tracer.rawValue), ("What does the CT show?", ct.rawValue),
    ]
  }

  /// The attributes one by one, as evaluation compares them.
  package var json: JSON {
    .object([
      ("region", .string(region)), ("organ", .string(organ)), ("sub_site", .string(subSite)),
      ("laterality", laterality.map { .string($0) } ?? .null), ("morphology", .string(morphology.rawValue)),
      ("uptake", .string(uptake.rawValue)), ("tracer", .string(tracer.rawValue)), ("ct", .string(ct.rawValue)),
    ])
  }
}
