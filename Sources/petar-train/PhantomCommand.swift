import CPetar
import Petar
import PetarConsole
import PetarTraining

/// `petar-train phantom --exams N --seed S --out DIR`
enum PhantomCommand {
  static let usage = """
    petar-train phantom: make whole-body PET/CT exams of digital phantoms, with lesions and their findings.

      petar-train phantom --exams N --seed S --out DIR [--split NAME] [--threads N] [--json]

      --exams      how many; an exam takes about 3 s of one core and 8 MB.
      --seed       a whole number of 0 or more. The same seed, and the same number of exams, give the same bytes.
      --out        the folder to make. It appears under this name when it is complete, or not at all.
      --split      puts every exam in this split (train, validation or test), as for a held-out set of another seed.
                   Otherwise one patient in ten each is for validation and for test.
      --threads    exams at a time; 2 unless given.
      --json       prints the summary as one JSON object.

    What is made
      DIR/exams/ID/pet.nii.gz        SUV; FDG, DOTATATE, fluciclovine or DCFPyL, each with its own biodistribution
      DIR/exams/ID/ct.nii.gz         HU, on a finer grid; some with contrast medium
      DIR/exams/ID/lesions.nii.gz    one label for each lesion, on the PET's grid
      DIR/exams/ID/organs.nii.gz     the 117 classes of TotalSegmentator, on the PET's grid
      DIR/dataset.jsonl              questions and answers, one a line: findings of lesions and their
                                     attributes one by one, names of organs
      DIR/dataset.json               seed, version, licence, and what is known of each exam

    docs/dataset.md describes the format, docs/phantoms.md what the phantoms can and cannot show.

    Exit codes
      0 done    2 wrong usage    4 a file cannot be written    130 interrupted; nothing is left behind    1 anything else

    Example
      petar-train phantom --exams 20 --seed 1 --out phantoms
      petar-describe --model MODEL.petar --pet phantoms/exams/p00001-1/pet.nii.gz \\
        --ct phantoms/exams/p00001-1/ct.nii.gz --mask phantoms/exams/p00001-1/lesions.nii.gz --label 1

    """

  static func run(_ words: some Sequence<String>) throws {
    let arguments = try Arguments(
      words, valued: ["--exams", "--seed", "--out", "--split", "--threads"], plain: ["--json"])
    try arguments.onlyOptions()
    let exams = try arguments.wholeNumber("--exams", in: 1...100_000)
    let seed: UInt64 = try arguments.wholeNumber("--seed")
    let output = try arguments.required("--out")
    let split: Dataset.Split? = try arguments.choice("--split")
    let threads = try arguments.threads(unlessGiven: 2)

    Interrupt.watch()
    let bar = ProgressBar("making phantoms")
    defer { bar.close() }
    let summary = try PhantomDataset(folder: output, exams: exams, seed: seed, split: split).write(threads: threads) {
      try Interrupt.check()
      bar.show($0, $1)
    }
    bar.close()
    Console.out((arguments.has("--json") ? json(summary, output) : text(summary, output)) + "\n")
  }

  private static func json(_ summary: PhantomDataset.Summary, _ output: String) -> String {
    let tracers = Tracer.allCases.map { ($0.rawValue, JSON.integer(summary.findingsOfTracer[$0] ?? 0)) }
    return JSON.object([
      ("folder", .string(output)), ("exams", .integer(summary.exams)), ("patients", .integer(summary.patients)),
      ("findings", .integer(summary.findings)), ("attribute_questions", .integer(summary.attributeQuestions)),
      ("organ_questions", .integer(summary.organQuestions)),
      ("lesions_without_question", .integer(summary.withoutQuestion)), ("findings_of_tracer", .object(tracers)),
      (
        "lesion_share",
        .object([
          ("least", .optional(summary.shares.min())), ("mean", .optional(mean(summary.shares))),
          ("greatest", .optional(summary.shares.max())),
        ])
      ), ("seconds_per_exam", .number(summary.secondsPerExam)),
    ]).text
  }

  private static func text(_ summary: PhantomDataset.Summary, _ output: String) -> String {
    let tracers = Tracer.allCases.map { "\(summary.findingsOfTracer[$0] ?? 0) \($0.rawValue)" }
    var lines = [
      "\(output): \(summary.exams) exams of \(summary.patients) patients",
      "\(summary.findings) findings (\(tracers.joined(separator: ", "))), "
        + "\(summary.attributeQuestions) attribute questions, \(summary.organQuestions) organ questions",
    ]
    if let least = summary.shares.min(), let mean = mean(summary.shares), let greatest = summary.shares.max() {
      lines.append(
        "lesions fill \(percent(least)) to \(percent(greatest)) % of the PET's volume, \(percent(mean)) on average")
    }
    if summary.withoutQuestion > 0 {
      lines.append("\(summary.withoutQuestion) lesions lie above the last slice with SUV > 5 and carry no question")
    }
    return lines.joined(separator: "\n")
  }

  private static func mean(_ values: [Double]) -> Double? {
    values.isEmpty ? nil : values.reduce(0, +) / Double(values.count)
  }

  private static func percent(_ share: Double) -> String { decimal(100 * share, digits: 3) }
}
