import CPetar
import Foundation
import Petar
import PetarConversion
import PetarTraining
import Synchronization
import Testing

func writeText(_ text: String, to path: String) throws {
  try Data(text.utf8).write(to: URL(fileURLWithPath: path))
}

/// Four phantoms, made once: two to train on, one each for validation and test.
private enum Phantoms {
  static let made: Result<String, any Error> = Result {
    let folder = folderUntilExit() + "/phantoms"
    _ = try PhantomDataset(folder: folder, exams: 4, seed: 3).write(threads: 2) { _, _ in }
    return folder
  }
}

private struct Stop: Error {}

@Suite("Training: runs") struct TrainingRunTests {
  private static let recipe = #"""
    {
      "model": {
        "image_size": [8, 32, 32], "patch_size": [4, 16, 16], "proj_pooling_size": [1, 2, 2], "vision_width": 64,
        "vision_layers": 1, "vision_mlp": 64, "hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2,
        "intermediate_size": 64, "max_position_embeddings": 160
      },
      "vocabulary": 400, "save_minutes": 0, "jittered_versions": 2,
      "stages": [
        {"name": "organs", "tasks": ["organ"], "epochs": 2, "questions_per_exam": 4, "batch": 3, "learning_rate": 3e-3},
        {"name": "mask", "tasks": ["finding"], "train": "mask_embedding", "epochs": 2, "batch": 2, "accumulation": 2},
        {"name": "adapters", "tasks": ["finding"], "train": "adapters", "epochs": 2, "batch": 4}
      ]
    }
    """#

  private func run(
    _ folder: String, output: String, seed: UInt64 = 1, threads: Int = 2, recipe: String = recipe,
    observer: TrainingRun.Observer = .init()
  ) throws -> String {
    try writeText(recipe, to: folder + "/recipe.json")
    var settings = TrainingRun.Settings(data: try Phantoms.made.get(), output: folder + "/" + output)
    settings.seed = seed
    settings.threads = threads
    return try TrainingRun(try Recipe(path: folder + "/recipe.json"), settings, observer: observer).run()
  }

  private func weights(_ checkpoint: String) throws -> Data {
    try Data(contentsOf: URL(fileURLWithPath: checkpoint + "/model.safetensors"))
  }

  @Test("Interrupted after any step and gone on with, by any number of threads: the same bits") func resume() throws {
    try withTemporaryFolder { folder in
      let whole = try run(folder, output: "whole")
      // Stops after the 1st, 2nd, 3rd ... step of what is left, over the ends of epochs and stages.
      var starts = 0
      while true {
        starts += 1
        try #require(starts < 30)
        let allowed = starts
        let steps = Atomic(0)
        var observer = TrainingRun.Observer()
        observer.onStep = { _ in steps.add(1, ordering: .relaxed) }
        observer.check = { if steps.load(ordering: .relaxed) >= allowed { throw Stop() } }
        do {
          let resumed = try run(folder, output: "resumed", threads: 1 + starts % 3, observer: observer)
          #expect(try weights(resumed) == weights(whole))
          break
        } catch is Stop {}
      }
      #expect(starts > 3)
      // A line for each step, as if nothing had happened.
      func steps(_ output: String) throws -> [Substring] {
        try String(contentsOfFile: "\(folder)/\(output)/metrics.jsonl", encoding: .utf8).split(separator: "\n")
          .map { $0.prefix { $0 != "}" }.components(separatedBy: ", \"gradient_norm\"")[0][...] }
      }
      #expect(try steps("resumed") == steps("whole"))
      // A run's folder holds no state once it is done.
      let left = try FileManager.default.contentsOfDirectory(atPath: folder + "/resumed")
      #expect(Set(left) == ["0-start", "1-organs", "2-mask", "3-adapters", "metrics.jsonl", "run.json"])
    }
  }

  @Test("A stage changes what it is meant to, and nothing else") func stages() throws {
    try withTemporaryFolder { folder in
      let last = try run(folder, output: "run")
      let parent = folder + "/run/"
      let start = try Parameters(checkpoint: parent + "0-start")
      let organs = try Parameters(checkpoint: parent + "1-organs")
      let mask = try Parameters(checkpoint: parent + "2-mask")
      let adapters = try Parameters(checkpoint: last)
      func changed(_ one: Parameters, _ other: Parameters) throws -> Set<String> {
        Set(
          try one.tensors.filter { tensor in
            Array(tensor.values.elements) != Array(try other.tensor(tensor.name).values.elements)
          }.map(\.name))
      }
      let trained = try changed(start, organs)
      #expect(trained.count * 10 > start.tensors.count * 9)
      #expect(
        try changed(organs, mask) == ["vision.mask.patch.weight", "vision.mask.patch.bias", "vision.mask.position"])
      let adapted = try changed(mask, adapters)
      #expect(adapted.contains("decoder.0.qkv.weight") && adapted.contains("vision.pet.0.qkv.weight"))
      #expect(!adapted.contains("decoder.embedding.weight") && !adapted.contains("decoder.head.weight"))
    }
  }

  @Test("The loss falls; another seed gives another model") func learns() throws {
    try withTemporaryFolder { folder in
      let losses = Mutex<[Double]>([])
      var observer = TrainingRun.Observer()
      observer.onStep = { step in if step.stage == "organs" { losses.withLock { $0.append(step.loss) } } }
      let recipe = Self.recipe.replacing("\"epochs\": 2, \"questions", with: "\"epochs\": 30, \"questions")
      let one = try run(folder, output: "one", recipe: recipe, observer: observer)
      let all = losses.withLock { $0 }
      let (first, last) = (all.prefix(6).reduce(0, +), all.suffix(6).reduce(0, +))
      #expect(last < 0.7 * first, "\(all)")
      #expect(try weights(run(folder, output: "two", seed: 2, recipe: recipe)) != weights(one))
    }
  }

  @Test("A folder that holds another run is refused") func otherRun() throws {
    try withTemporaryFolder { folder in
      var observer = TrainingRun.Observer()
      observer.check = { throw Stop() }
      #expect(throws: Stop.self) { try run(folder, output: "run", observer: observer) }
      let error = try #require(throws: PetarError.self) { try run(folder, output: "run", seed: 2) }
      #expect(error.status == PETAR_ERROR_INVALID_ARGUMENT && error.message.contains("another run: seed"))
    }
  }

  @Test("An exam that cannot be read is named: refused, or skipped if the recipe says so") func brokenExam() throws {
    try withTemporaryFolder { folder in
      let data = folder + "/data"
      try FileManager.default.copyItem(atPath: try Phantoms.made.get(), toPath: data)
      let exams = Set(try Dataset(folder: data).questions.filter { $0.split == .train }.map(\.exam))
      let exam = try #require(exams.first)
      try writeText("no image", to: "\(data)/exams/\(exam)/ct.nii.gz")
      func start(_ policy: String, output: String) throws -> [String] {
        try writeText(
          Self.recipe.replacing("\"save_minutes\"", with: "\"broken_exams\": \"\(policy)\", \"save_minutes\""),
          to: folder + "/recipe.json")
        let skipped = Mutex<[String]>([])
        var observer = TrainingRun.Observer()
        observer.onSkip = { question, _ in skipped.withLock { $0.append(question.exam) } }
        var settings = TrainingRun.Settings(data: data, output: folder + "/" + output)
        settings.threads = 2
        _ = try TrainingRun(try Recipe(path: folder + "/recipe.json"), settings, observer: observer).run()
        return skipped.withLock { $0 }
      }
      let error = try #require(throws: PetarError.self) { _ = try start("refuse", output: "refused") }
      #expect(error.message.contains(exam) && error.message.contains("skip"), "\(error.message)")
      let skipped = try start("skip", output: "skipped")
      #expect(!skipped.isEmpty && Set(skipped) == [exam])

      for other in exams { try writeText("no image", to: "\(data)/exams/\(other)/ct.nii.gz") }
      let nothing = try #require(throws: PetarError.self) { _ = try start("skip", output: "nothing") }
      #expect(nothing.message.contains("every question of stage organs was skipped"), "\(nothing.message)")
    }
  }

  @Test("Gradients that are not finite stop the run and keep the last good state") func diverges() throws {
    try withTemporaryFolder { folder in
      // Decay multiplies the weights by 1 - 10 x 10 in a step: f32 ends after twenty of them.
      let recipe = Self.recipe.replacing(
        "\"learning_rate\": 3e-3", with: "\"learning_rate\": 10, \"weight_decay\": 10, \"warm_up\": 0, \"clip\": 0"
      )
      .replacing("\"epochs\": 2, \"questions", with: "\"epochs\": 60, \"questions")
      let error = try #require(throws: PetarError.self) {
        _ = try run(folder, output: "run", recipe: recipe)
      }
      #expect(error.status == PETAR_ERROR_INTERNAL && error.message.contains("diverged"), "\(error.message)")
      #expect(FileManager.default.fileExists(atPath: folder + "/run/0-start/model.safetensors"))
      // The state can be gone on from: `steps`, then what is trained, all of it finite. It comes to the same end.
      let bytes = try #require(FileManager.default.contents(atPath: folder + "/run/1-organs.state"))
      let header = bytes.prefix(8).reversed().reduce(0) { $0 << 8 | Int($1) }
      let values = bytes.dropFirst(8 + header).withUnsafeBytes { Array($0.bindMemory(to: Float.self)) }
      #expect(values.count > 1000 && values.allSatisfy(\.isFinite))
      #expect(try #require(values.first) > 1)
      let again = try #require(throws: PetarError.self) { _ = try run(folder, output: "run", recipe: recipe) }
      #expect(again.message == error.message)
    }
  }

  /// As Hugging Face's cache keeps them: links to files elsewhere, relative to their own folder.
  @Test("A stage from a checkpoint of bf16 shards behind links: f32 that says so, and only what is trained differs")
  func fromACheckpoint() throws {
    try withTemporaryFolder { folder in
      var source = TestCheckpoint(.phi3)
      (source.dtype, source.shards) = ("BF16", 3)
      source.config["torch_dtype"] = "\"bfloat16\""
      let files = FileManager.default
      let (blobs, snapshot) = (folder + "/blobs", folder + "/snapshots/main")
      try source.write(to: blobs)
      try files.createDirectory(atPath: snapshot, withIntermediateDirectories: true)
      for name in try files.contentsOfDirectory(atPath: blobs) {
        try files.createSymbolicLink(atPath: "\(snapshot)/\(name)", withDestinationPath: "../../blobs/\(name)")
      }
      let last = try run(
        folder, output: "run",
        recipe: #"""
          {
            "checkpoint": "\#(snapshot)", "jittered_versions": 0,
            "stages": [{"name": "p", "tasks": ["finding"], "train": "projector", "epochs": 2}]
          }
          """#)

      try files.removeItem(atPath: blobs)
      let config = try JSONValue.object([UInt8](#require(files.contents(atPath: last + "/config.json"))), source: last)
      #expect(config["torch_dtype"]?.text == "float32" && config["rms_norm_eps"]?.number == 3e-5)
      let trained = try Parameters(checkpoint: last)
      var places: [String: Int] = [:]
      for tensor in trained.tensors {
        for part in tensor.parts {
          let (first, count) = (places[tensor.name, default: 0], part.shape.reduce(1, *))
          places[tensor.name] = first + count
          let same = Array(tensor.values.elements[first..<first + count]) == source.values(part.name)
          #expect(same == !tensor.name.hasPrefix("projector."), "\(part.name)")
        }
      }
      #expect(places.count == trained.tensors.count)
    }
  }

  @Test("A data set that was edited is noticed, and said") func editedData() throws {
    try withTemporaryFolder { folder in
      let data = folder + "/data"
      try FileManager.default.copyItem(atPath: try Phantoms.made.get(), toPath: data)
      try writeText(Self.recipe, to: folder + "/recipe.json")
      let (recipe, settings) = (
        try Recipe(path: folder + "/recipe.json"), TrainingRun.Settings(data: data, output: folder + "/run")
      )
      _ = try TrainingRun(recipe, settings)
      let lines = try String(contentsOfFile: data + "/dataset.jsonl", encoding: .utf8)
      try writeText(lines.replacing("Region", with: "Place"), to: data + "/dataset.jsonl")
      let error = try #require(throws: PetarError.self) { _ = try TrainingRun(recipe, settings) }
      #expect(error.message.contains("\(data)/dataset.jsonl changed since"), "\(error.message)")
    }
  }

  @Test("What nobody chose is told, too: AdamW's constants, the ranges of the jitter") func constants() throws {
    try withTemporaryFolder { folder in
      try writeText(Self.recipe, to: folder + "/recipe.json")
      let settings = TrainingRun.Settings(data: try Phantoms.made.get(), output: folder + "/run")
      let told = try TrainingRun(try Recipe(path: folder + "/recipe.json"), settings).description.text
      for words in [
        #""adamw": {"beta1": 0.9, "beta2": 0.999, "epsilon": 1e-08}"#,
        #""jitter": {"focal_sides": 0.2, "global_slices": 15}"#,
      ] {
        #expect(told.contains(words), "\(told)")
      }
    }
  }
}
