import CPetar
import Foundation
import Petar
import PetarConversion

/// A training recipe: the one configuration file of a run. docs/training.md explains it.
///
/// Defaults are the paper's or M3D's, whose recipe it follows (upstream.md, section 3), where these say something.
package struct Recipe: Sendable {
  package struct Adapters: Sendable {
    package var rank = 16
    package var alpha = 32.0
    package var dropout = 0.05
  }

  /// What a stage changes.
  package enum Trained: String, CaseIterable, Sendable {
    case projector
    /// The decoder alone: what a new one needs first. Towers and projector that are trained while it still learns the
    /// most frequent words become a constant that helps with those, and the image is lost in it.
    case decoder
    case maskEmbedding = "mask_embedding"
    case all
    /// Adapters of the decoder, the towers and the projector.
    case adapters
  }

  package struct Stage: Sendable {
    package var name = ""
    package var tasks: [Dataset.Task] = []
    /// Only questions of these words; empty for all.
    package var questions: [String] = []
    package var trained = Trained.all
    package var epochs = 10
    /// Questions of each exam in an epoch; 0 for all.
    package var questionsPerExam = 0
    package var batch = 8
    package var accumulation = 1
    package var learningRate = 0.0
    package var warmUp = 0.03
    package var weightDecay = 0.0
    /// Norm of the gradients at most; 0 for any.
    package var clip = 1.0
  }

  /// config.json of a new model, with the numbers that a checkpoint's shapes tell and the folders of the parts that are
  /// trained already; nil to start from a checkpoint.
  package var model: [(name: String, value: JSONValue)]?
  /// Tokens of the tokenizer that a new model gets; 0 where its decoder has one.
  package var vocabulary = 0
  /// Folder of the checkpoint that is trained on.
  package var checkpoint: String?
  package var stages: [Stage] = []
  package var adapters = Adapters()
  /// Whether views are jittered, and how many versions of each question's views epochs take turns with; 0 for none.
  package var jitteredVersions = 10
  package var brokenExams = ExampleFeed.BrokenExams.refuse
  /// GiB of prepared examples that are kept.
  package var memory = 4.0
  /// Keep the inputs of blocks only, and compute these again in the backward pass.
  package var checkpointing = false
  /// Minutes between two states on disk.
  package var saveMinutes = 5.0

  /// - Throws: `PETAR_ERROR_BAD_FILE` naming what is wrong, `PETAR_ERROR_IO`.
  package init(path: String) throws {
    guard let bytes = FileManager.default.contents(atPath: path) else {
      throw PetarError(PETAR_ERROR_IO, "cannot read the recipe \(path)")
    }
    var reader = try RecipeReader(try JSONValue(parsing: [UInt8](bytes), source: path), path)
    if let model = reader.take("model") {
      guard let members = model.members else { throw reader.fail("model", model, "an object") }
      var modelReader = try RecipeReader(model, "\(path): model")
      for name in NewModel.settingNames { _ = modelReader.take(name) }
      try modelReader.finish()
      self.model = members
      // A decoder brings its own tokenizer.
      if model["decoder"] == nil { vocabulary = try reader.whole("vocabulary", 512, in: 300...1 << 20) }
    }
    checkpoint = try reader.text("checkpoint")
    guard (model == nil) != (checkpoint == nil) else {
      throw PetarError(
        PETAR_ERROR_BAD_FILE, "\(path): give either \"model\", to start from nothing, or \"checkpoint\", a folder")
    }
    jitteredVersions = try reader.whole("jittered_versions", jitteredVersions, in: 0...1000)
    brokenExams = try reader.choice("broken_exams", brokenExams)
    memory = try reader.number("memory_gib", memory, in: 0...1e6)
    checkpointing = try reader.flag("activation_checkpointing", checkpointing)
    saveMinutes = try reader.number("save_minutes", saveMinutes, in: 0...1e6)
    var adapterReader = try reader.object("adapters")
    adapters.rank = try adapterReader.whole("rank", adapters.rank, in: 1...4096)
    adapters.alpha = try adapterReader.number("alpha", adapters.alpha, in: 0...1e6)
    adapters.dropout = try adapterReader.number("dropout", adapters.dropout, in: 0...0.99)
    try adapterReader.finish()
    for var stageReader in try reader.objects("stages") {
      stages.append(try Stage(&stageReader))
      try stageReader.finish()
    }
    guard !stages.isEmpty else { throw PetarError(PETAR_ERROR_BAD_FILE, "\(path): \"stages\" has no stage") }
    guard Set(stages.map(\.name)).count == stages.count else {
      throw PetarError(PETAR_ERROR_BAD_FILE, "\(path): two stages have the same name")
    }
    try reader.finish()
  }

  /// Everything, defaults included: what is printed and kept with the run.
  package var json: JSON {
    var members: [(String, JSON)] = []
    if let model {
      members.append(("model", .object(model.map { ($0.name, $0.value.json) })))
      if vocabulary > 0 { members.append(("vocabulary", .integer(vocabulary))) }
    }
    if let checkpoint { members.append(("checkpoint", .string(checkpoint))) }
    members += [
      ("jittered_versions", .integer(jitteredVersions)), ("broken_exams", .string(brokenExams.rawValue)),
      ("memory_gib", .number(memory)), ("activation_checkpointing", .bool(checkpointing)),
      ("save_minutes", .number(saveMinutes)),
    ]
    if stages.contains(where: { $0.trained == .adapters }) {
      members.append(
        (
          "adapters",
          .object([
            ("rank", .integer(adapters.rank)), ("alpha", .number(adapters.alpha)),
            ("dropout", .number(adapters.dropout)),
          ])
        ))
    }
    members.append(("stages", .array(stages.map(\.json))))
    return .object(members)
  }
}

extension Recipe.Stage {
  fileprivate init(_ reader: inout RecipeReader) throws {
    guard let name = try reader.text("name"), !name.contains("/"), !name.hasPrefix(".") else {
      throw PetarError(PETAR_ERROR_BAD_FILE, "\(reader.source): a stage needs a \"name\" that a file can have")
    }
    self.name = name
    let tasks = try reader.texts("tasks", Dataset.Task.allCases.map(\.rawValue))
    self.tasks = tasks.compactMap { Dataset.Task(rawValue: $0) }
    questions = try reader.texts("questions")
    trained = try reader.choice("train", trained)
    epochs = try reader.whole("epochs", epochs, in: 1...1_000_000)
    questionsPerExam = try reader.whole("questions_per_exam", questionsPerExam, in: 0...1_000_000)
    batch = try reader.whole("batch", batch, in: 1...65536)
    accumulation = try reader.whole("accumulation", accumulation, in: 1...65536)
    learningRate = try reader.number("learning_rate", trained == .projector ? 1e-4 : 5e-5, in: 1e-12...10)
    warmUp = try reader.number("warm_up", warmUp, in: 0...1)
    weightDecay = try reader.number("weight_decay", weightDecay, in: 0...10)
    clip = try reader.number("clip", clip, in: 0...1e9)
  }

  fileprivate var json: JSON {
    .object([
      ("name", .string(name)), ("tasks", .array(tasks.map { .string($0.rawValue) })),
      ("questions", .array(questions.map { .string($0) })), ("train", .string(trained.rawValue)),
      ("epochs", .integer(epochs)), ("questions_per_exam", .integer(questionsPerExam)), ("batch", .integer(batch)),
      ("accumulation", .integer(accumulation)), ("learning_rate", .number(learningRate)), ("warm_up", .number(warmUp)),
      ("weight_decay", .number(weightDecay)), ("clip", .number(clip)),
    ])
  }
}
