import CPetar
import Petar
import PetarConsole
import PetarTraining

/// `petar-train evaluate MODEL.petar DATA`
enum EvaluateCommand {
  static let usage = """
    petar-train evaluate: ask a model the questions of a data set and say how often it is right.

      petar-train evaluate MODEL.petar DATA [--split NAME] [--task NAME] [--limit N] [--without INPUTS]
                           [--out FOLDER] [--threads N] [--skip-broken] [--json]

      DATA           a folder as docs/dataset.md describes it
      --split        train, validation or test; test unless given
      --task         finding, attribute or organ; all unless given
      --limit        asks this many questions, spread evenly over the split
      --without      for ablations: mask, ct, focal, or several with commas between. Mask and CT become zeros, the
                     focal view becomes the global one.
      --out          a folder for predictions.jsonl (question, truth and text of the model, right or wrong field by
                     field) and scores.json. A folder that holds scores.json already is refused.
      --threads      all processors unless given
      --skip-broken  exams that cannot be described are named and counted, but are no failure
      --json         prints the scores as one JSON object

    What is compared
      text           the whole finding, character by character
      organ, laterality, region, sub_site, morphology, uptake, tracer, ct
                     the finding field by field, as far as dataset.jsonl gives its attributes. A field that the model's
                     text does not hold is wrong.
      attributes     the mean over region, sub_site, morphology, uptake, tracer and ct
      attribute answers, organ answers
                     what is answered when asked for one attribute of a lesion, or for an organ
    Intervals are Wilson's at 95 %. scripts/score_text.py computes BLEU, ROUGE-L and CIDEr of predictions.jsonl.

    Exit codes
      0 done    1 an exam is broken, or anything else    2 wrong usage    4 a file cannot be read or written
      130 interrupted; what was answered is in predictions.jsonl

    Example
      petar-train phantom --exams 20 --seed 9 --split test --out held-out
      petar-train evaluate MODEL.petar held-out --out evaluation

    """

  static func run(_ words: some Sequence<String>) throws {
    let arguments = try Arguments(
      words, valued: ["--split", "--task", "--limit", "--without", "--out", "--threads"],
      plain: ["--skip-broken", "--json"])
    guard arguments.positionals.count == 2 else {
      throw UsageError(message: "evaluate takes a model and a data set: petar-train evaluate MODEL.petar DATA")
    }
    var selection = Dataset.Selection(split: try arguments.choice("--split") ?? .test)
    selection.task = try arguments.choice("--task")
    if arguments.value("--limit") != nil {
      selection.limit = try arguments.wholeNumber("--limit", in: 1...1_000_000_000)
    }
    let threads = try arguments.threads()

    let model = try Model(path: arguments.positionals[0])
    let dataset = try Dataset(folder: arguments.positionals[1])
    let questions = try dataset.questions(selection)
    let folder = try arguments.value("--out").map { try EvaluationFolder($0) }
    let evaluator = try Evaluator(model, dataset, omitted: try arguments.choices("--without"), threads: threads)
    for warning in model.warnings { Console.error("petar-train: warning: \(warning)\n") }

    let evaluation = try evaluate(evaluator, questions, selection, folder)
    // Printed first: a full disk must not take the scores away.
    Console.out((arguments.has("--json") ? evaluation.json.text : EvaluationText(evaluation).text) + "\n")
    try folder?.write(evaluation, complete: true)
    try refuseBroken(evaluation, skip: arguments.has("--skip-broken"))
  }

  private static func evaluate(
    _ evaluator: Evaluator, _ questions: [Dataset.Question], _ selection: Dataset.Selection, _ folder: EvaluationFolder?
  ) throws -> Evaluation {
    Interrupt.watch()
    let bar = ProgressBar("evaluating")
    let clock = Stopwatch()
    var answers = [Answer?](repeating: nil, count: questions.count)
    var done = 0
    func evaluation() -> Evaluation {
      Evaluation(evaluator, selection, answers: answers.compactMap { $0 }, seconds: clock.seconds)
    }
    do {
      defer { bar.close() }
      try evaluator.run(questions, checkpoint: { try Interrupt.check() }) { index, answer in
        answers[index] = answer
        done += 1
        bar.show(done, questions.count)
      }
    } catch let error as PetarError where error.status == PETAR_CANCELLED {
      try folder?.write(evaluation(), complete: false)
      let kept = folder.map { "\($0.path)/predictions.jsonl holds the answers, there are no scores" }
      throw PetarError(
        PETAR_CANCELLED,
        "interrupted after \(done) of \(questions.count) questions; \(kept ?? "nothing was written")")
    }
    return evaluation()
  }

  /// Names what could not be described.
  private static func refuseBroken(_ evaluation: Evaluation, skip: Bool) throws {
    let failures = evaluation.scores.failures
    guard !failures.isEmpty else { return }
    for failure in failures {
      let question = failure.question
      Console.error(
        "petar-train: exam \(question.exam), label \(question.label) of \(question.map): \(failure.failure ?? "")\n")
    }
    let count =
      "\(failures.count) of \(evaluation.answers.count) questions could not be asked and are not in the scores"
    guard skip else {
      throw PetarError(PETAR_ERROR_BAD_FILE, "\(count); mend the exams named above, or pass --skip-broken")
    }
    Console.error("petar-train: \(count)\n")
  }
}
