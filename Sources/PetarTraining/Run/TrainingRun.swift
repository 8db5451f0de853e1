import CPetar
import Foundation
import Petar
import PetarConversion
import Synchronization

/// A run of a recipe: its stages one after the other, each from the checkpoint of the one before.
///
/// What is on disk at any moment is enough to go on to the same bits:
///
///     OUT/run.json           the recipe with all defaults, the data set, the seed
///     OUT/0-start/           the checkpoint of a new model
///     OUT/N-NAME/            the checkpoint after stage N
///     OUT/N-NAME.state       a stage under way: what is trained, its moments, the steps taken
///     OUT/metrics.jsonl      a line for each step, and for each epoch the loss on the validation split
package struct TrainingRun {
  package struct Settings: Sendable {
    package var data: String
    package var output: String
    package var seed: UInt64 = 1
    package var omitted: Set<OmittedInput> = []
    package var threads = 1

    package init(data: String, output: String) {
      self.data = data
      self.output = output
    }
  }

  /// Told what happens. All but `onSkip` and `onWarning` on the calling thread.
  package struct Observer: Sendable {
    package var onStage: @Sendable (_ stage: String, _ questions: Int, _ steps: Int, _ resumedAt: Int) -> Void = {
      _, _, _, _ in
    }
    package var onStep: @Sendable (TrainingStep) -> Void = { _ in }
    package var onSkip: @Sendable (Dataset.Question, PetarError) -> Void = { _, _ in }
    /// What is not as it should be with a question's mask, once in a run.
    package var onWarning: @Sendable (Dataset.Question, String) -> Void = { _, _ in }
    /// What it throws ends the run, with its state saved.
    package var check: @Sendable () throws -> Void = {}

    package init() {}
  }

  let recipe: Recipe
  let settings: Settings
  let observer: Observer
  private let dataset: Dataset
  private let pool: ThreadPool

  /// - Throws: what reading the data set throws, and `PETAR_ERROR_INVALID_ARGUMENT` when the output folder holds another
  ///   run.
  package init(_ recipe: Recipe, _ settings: Settings, observer: Observer = .init()) throws {
    self.recipe = recipe
    self.settings = settings
    self.observer = observer.tellingOnce()
    dataset = try Dataset(folder: settings.data)
    pool = try ThreadPool(threads: settings.threads)
    do {
      try FileManager.default.createDirectory(atPath: settings.output, withIntermediateDirectories: true)
    } catch {
      throw PetarError(PETAR_ERROR_IO, "cannot make \(settings.output): \(error.localizedDescription)")
    }
    try claimOutput()
  }

  /// What identifies the run: two of the same text give the same model.
  package var description: JSON {
    let adam = AdamW.Settings()
    func number(_ value: Float) -> JSON { .number(Double("\(value)") ?? Double(value)) }
    let jitter: JSON =
      recipe.jitteredVersions == 0
      ? .null
      : .object([
        ("focal_sides", .number(ViewJitter.largestShare)), ("global_slices", .integer(ViewJitter.largestReach)),
      ])
    return .object([
      ("recipe", recipe.json),
      (
        "adamw",
        .object([
          ("beta1", number(adam.beta1)), ("beta2", number(adam.beta2)), ("epsilon", number(adam.epsilon)),
        ])
      ),
      ("jitter", jitter), ("data", .string(settings.data)), ("questions", .integer(dataset.questions.count)),
      ("dataset_sha256", .string(dataset.sha256)), ("seed", .string(String(settings.seed))),
      ("without", .array(settings.omitted.names.map { .string($0) })),
      ("version", .string("\(Library.version)")),
    ])
  }

  private func claimOutput() throws {
    let path = settings.output + "/run.json"
    let text = description.text + "\n"
    if let found = FileManager.default.contents(atPath: path) {
      guard found == Data(text.utf8) else {
        throw PetarError(
          PETAR_ERROR_INVALID_ARGUMENT,
          "\(settings.output) holds another run: \(try changes(of: text, since: found, path)) changed since it began; "
            + "choose another folder")
      }
      return
    }
    try replaceFile(Array(text.utf8), path: path)
  }

  /// The members of run.json that differ.
  private func changes(of text: String, since found: Data, _ path: String) throws -> String {
    let before = try JSONValue.object([UInt8](found), source: path)
    let now = try JSONValue.object(Array(text.utf8), source: path)
    let names = now.keys.filter { before[$0]?.written != now[$0]?.written }.sorted()
    return names.map { $0 == "dataset_sha256" ? "\(settings.data)/dataset.jsonl" : $0 }.joined(separator: ", ")
  }

  /// Runs what is left of the stages.
  /// - Returns: the folder of the last checkpoint.
  /// - Throws: `PETAR_CANCELLED` when `check` did; `PETAR_ERROR_INTERNAL` when the training diverged. The state before
  ///   is kept in either case.
  package func run() throws -> String {
    var checkpoint = try start()
    let kept = KeptViews(limit: Int(recipe.memory * 0x1p30))
    for (index, stage) in recipe.stages.enumerated() {
      let folder = "\(settings.output)/\(index + 1)-\(stage.name)"
      if !FileManager.default.fileExists(atPath: folder) {
        let run = StageRun(
          stage: stage, index: index, recipe: recipe, settings: settings, dataset: dataset, kept: kept,
          pool: pool, observer: observer)
        try run.train(from: checkpoint, to: folder)
      }
      checkpoint = folder
    }
    return checkpoint
  }

  private func start() throws -> String {
    if let checkpoint = recipe.checkpoint { return checkpoint }
    let folder = settings.output + "/0-start"
    guard let model = recipe.model, !FileManager.default.fileExists(atPath: folder) else { return folder }
    let texts = dataset.questions.filter { $0.split == .train }.flatMap { [$0.question, $0.answer] }
    try NewModel(settings: model, vocabulary: recipe.vocabulary, seed: settings.seed).write(to: folder, texts: texts)
    return folder
  }
}

extension TrainingRun.Observer {
  /// Views of a mask are made again and again: with another jitter, in another stage.
  fileprivate func tellingOnce() -> Self {
    let told = Mutex<Set<[String]>>([])
    var observer = self
    observer.onWarning = { question, warning in
      let words = [question.exam, question.map, "\(question.label)", warning]
      if told.withLock({ $0.insert(words).inserted }) { self.onWarning(question, warning) }
    }
    return observer
  }
}

/// What a step came to.
package struct TrainingStep: Sendable {
  package let stage: String
  /// Steps taken, of `steps`.
  package let step: Int
  package let steps: Int
  package let loss: Double
  package let learningRate: Double
  /// Before clipping.
  package let gradientNorm: Double
  /// Tokens read, image tokens included.
  package let tokensPerSecond: Double
  /// Since the stage began or went on.
  package let seconds: Double
  /// Mean loss on the validation split, after the last step of an epoch.
  package let validationLoss: Double?
}
