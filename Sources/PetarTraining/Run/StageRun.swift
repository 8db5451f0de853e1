import CPetar
import Foundation
import Petar
import PetarConversion

/// One stage of a run.
struct StageRun {
  let stage: Recipe.Stage
  let index: Int
  let recipe: Recipe
  let settings: TrainingRun.Settings
  let dataset: Dataset
  let kept: KeptViews
  let pool: ThreadPool
  let observer: TrainingRun.Observer

  /// Questions of the validation split on which the loss is measured, at most; fewer of large views, as they are kept.
  private static let validationQuestions = 64

  /// Another for each stage, and for each use within it.
  private func seed(_ use: UInt64) -> UInt64 {
    var random = SplitMix64(seed: settings.seed &+ UInt64(index + 1) &* 0x632B_E59B_D9B4_E019 &+ use)
    return random.next()
  }

  func train(from checkpoint: String, to folder: String) throws {
    let parameters = try Parameters(checkpoint: checkpoint)
    if stage.trained == .adapters {
      try parameters.addAdapters(
        rank: recipe.adapters.rank, alpha: Float(recipe.adapters.alpha), dropout: Float(recipe.adapters.dropout),
        seed: seed(1))
    }
    try parameters.train(where: stage.trained.includes)
    let maker = try ExampleMaker(
      dataset, parameters.description, try Tokenizer(readTokenizer(folder: checkpoint), source: checkpoint),
      omitted: settings.omitted)
    let extent = parameters.description.views.extent
    let order = questionOrder(.train, extent, seed: seed(2))
    guard order.count > 0 else {
      throw PetarError(
        PETAR_ERROR_INVALID_ARGUMENT,
        "\(dataset.folder) has no question of the split train, the tasks \(stage.tasks.map(\.rawValue))"
          + (stage.questions.isEmpty ? "" : " and the words \(stage.questions)") + " for stage \(stage.name)")
    }

    let model = try TrainingModel(
      parameters, pool: pool, checkpointing: recipe.checkpointing, longest: try longest(maker, parameters.description))
    var adam = AdamW.Settings()
    adam.weightDecay = Float(stage.weightDecay)
    adam.largestNorm = stage.clip > 0 ? Float(stage.clip) : nil
    let optimizer = try AdamW(parameters, adam, pool: pool)
    let state = folder + ".state"
    if FileManager.default.fileExists(atPath: state) { try optimizer.read(state: state) }

    let batchesPerEpoch = (order.count + stage.batch - 1) / stage.batch
    let stepsPerEpoch = (batchesPerEpoch + stage.accumulation - 1) / stage.accumulation
    let steps = stepsPerEpoch * stage.epochs
    let rate = LearningRate(
      peak: stage.learningRate, warmUpSteps: Int((stage.warmUp * Double(steps)).rounded(.up)), steps: steps)
    observer.onStage(stage.name, order.count, steps, optimizer.steps)
    let metrics = try MetricsFile(
      path: settings.output + "/metrics.jsonl", stage: "\(index + 1)-\(stage.name)", stepsDone: optimizer.steps)
    let validation = try validationExamples(maker, extent)

    let asked = order.askedMasks
    kept.drop { !asked.contains($0) }
    let feed = feed(
      maker, order,
      firstBatch: optimizer.steps / stepsPerEpoch * batchesPerEpoch
        + optimizer.steps % stepsPerEpoch * stage.accumulation, batches: batchesPerEpoch * stage.epochs)
    let clock = Stopwatch()
    var saved = Stopwatch()
    var emptySteps = 0
    while optimizer.steps < steps {
      do {
        try observer.check()
      } catch {
        try diverging { try optimizer.write(state: state) }
        throw error
      }
      let step = optimizer.steps
      let place = step % stepsPerEpoch
      let batches = try (0..<min(stage.accumulation, batchesPerEpoch - place * stage.accumulation))
        .map { _ in try feed.next() }.filter { !$0.isEmpty }
      let stepClock = Stopwatch()
      let answers = batches.joined().reduce(0) { $0 + $1.answer.count }
      guard answers > 0 else {
        // Its questions were skipped. With batches of one that is nothing unusual; a whole epoch is.
        emptySteps += 1
        guard emptySteps < stepsPerEpoch else {
          throw PetarError(
            PETAR_ERROR_BAD_FILE, "every question of stage \(stage.name) was skipped; mend the data set")
        }
        optimizer.skipStep()
        continue
      }
      emptySteps = 0
      var loss = 0.0
      for (number, batch) in batches.enumerated() {
        loss += try model.accumulateGradients(
          batch, answerTokens: answers, dropoutSeed: seed(3) &+ UInt64(step * stage.accumulation + number))
      }
      let learningRate = rate(step)
      let norm = try diverging { try optimizer.step(learningRate: learningRate) }
      let seconds = stepClock.seconds
      let endsEpoch = place == stepsPerEpoch - 1
      let report = TrainingStep(
        stage: stage.name, step: step + 1, steps: steps, loss: loss, learningRate: learningRate, gradientNorm: norm,
        tokensPerSecond: Double(batches.joined().reduce(0) { $0 + $1.ids.count }) / seconds, seconds: clock.seconds,
        validationLoss: endsEpoch && !validation.isEmpty ? try meanLoss(model, validation) : nil)
      try metrics.append(report)
      observer.onStep(report)
      if saved.seconds > recipe.saveMinutes * 60, step + 1 < steps {
        try diverging { try optimizer.write(state: state) }
        saved = Stopwatch()
      }
    }
    try diverging { try parameters.write(checkpoint: folder, settingsFrom: checkpoint) }
    unlink(state)
  }

  /// Says where the last good state is when the numbers leave the finite.
  private func diverging<Result>(_ body: () throws -> Result) throws -> Result {
    do {
      return try body()
    } catch let error as PetarError where error.status == PETAR_ERROR_INTERNAL {
      throw PetarError(
        error.status,
        "stage \(stage.name): \(error.message); the state saved before and the last stage's checkpoint are kept in "
          + settings.output)
    }
  }

  // ---- Data -------------------------------------------------------------------------------------------------------

  private func questionOrder(
    _ split: Dataset.Split, _ extent: ModelDescription.Extent, seed: UInt64
  ) -> QuestionOrder {
    QuestionOrder(
      dataset.questions, questionsPerExam: stage.questionsPerExam > 0 ? stage.questionsPerExam : .max,
      masksPerGroup: QuestionOrder.masksPerGroup(extent), versions: max(recipe.jitteredVersions, 1), seed: seed
    ) { $0.split == split && stage.asks($0) }
  }

  private func feed(_ maker: ExampleMaker, _ order: QuestionOrder, firstBatch: Int, batches: Int) -> ExampleFeed {
    ExampleFeed(
      maker, order, jitterSeed: recipe.jitteredVersions > 0 ? settings.seed : nil, batch: stage.batch,
      firstBatch: firstBatch, batches: batches,
      kept: kept, threads: settings.threads, broken: recipe.brokenExams,
      onSkip: observer.onSkip, onWarning: observer.onWarning)
  }

  /// Some questions of the validation split, in batches, without jitter.
  private func validationExamples(
    _ maker: ExampleMaker, _ extent: ModelDescription.Extent
  ) throws -> [[TrainingExample]] {
    let order = questionOrder(.validation, extent, seed: seed(4))
    let most = min(Self.validationQuestions, QuestionOrder.masksPerGroup(extent))
    let batches = min((order.count + stage.batch - 1) / stage.batch, max(most / stage.batch, 1))
    guard batches > 0 else { return [] }
    let feed = ExampleFeed(
      maker, order, jitterSeed: nil, batch: stage.batch, firstBatch: 0, batches: batches,
      kept: KeptViews(limit: 0), threads: settings.threads, broken: recipe.brokenExams, onSkip: observer.onSkip,
      onWarning: observer.onWarning)
    return try (0..<batches).map { _ in try feed.next() }.filter { !$0.isEmpty }
  }

  /// The mean over all answer tokens.
  private func meanLoss(_ model: TrainingModel, _ batches: [[TrainingExample]]) throws -> Double {
    var (sum, count) = (0.0, 0)
    for batch in batches {
      let tokens = batch.reduce(0) { $0 + $1.answer.count }
      sum += try model.meanLoss(batch) * Double(tokens)
      count += tokens
    }
    return sum / Double(count)
  }

  /// Tokens of the longest question with its answer. What does not fit the model is said before the long work.
  private func longest(_ maker: ExampleMaker, _ model: ModelDescription) throws -> Int {
    var longest = 0
    // Organs have few texts, many times each.
    var seen: Set<[String]> = []
    for question in dataset.questions
    where stage.asks(question) && question.split != .test
      && seen.insert([question.question, question.answer]).inserted
    {
      let count = maker.tokens(of: question).ids.count
      guard count <= model.decoder.context else {
        throw PetarError(
          PETAR_ERROR_CONTEXT_FULL,
          "exam \(question.exam), \(question.map) \(question.label): question and answer have \(count) tokens, the "
            + "model's context \(model.decoder.context)")
      }
      longest = max(longest, count)
    }
    return longest
  }
}

extension Recipe.Stage {
  func asks(_ question: Dataset.Question) -> Bool {
    tasks.contains(question.task) && (questions.isEmpty || questions.contains(question.question))
  }
}

extension Recipe.Trained {
  /// Which tensors, by name, a stage changes.
  func includes(_ name: String) -> Bool {
    switch self {
    case .projector: name.hasPrefix("projector.")
    case .decoder: name.hasPrefix("decoder.")
    case .maskEmbedding: name.hasPrefix("vision.mask.")
    case .all: true
    case .adapters: Parameters.isAdapter(name) || name.hasPrefix("vision.") || name.hasPrefix("projector.")
    }
  }
}
