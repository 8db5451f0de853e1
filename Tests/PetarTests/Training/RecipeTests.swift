import CPetar
import Foundation
import Petar
import PetarTraining
import Testing

@Suite("Training: recipes") struct RecipeTests {
  private func recipe(_ text: String) throws -> Recipe {
    try withTemporaryFolder { folder in
      try writeText(text, to: folder + "/recipe.json")
      return try Recipe(path: folder + "/recipe.json")
    }
  }

  /// upstream.md, section 3: ten epochs, M3D's learning rates, 3 % of warm-up, no weight decay, LoRA 16/32/0.05.
  @Test("What a recipe does not say is the paper's or M3D's") func defaults() throws {
    let recipe = try recipe(
      #"""
      {"checkpoint": "there", "stages": [{"name": "one", "train": "projector"}, {"name": "two", "train": "adapters"}]}
      """#)
    #expect(recipe.checkpoint == "there" && recipe.model == nil)
    #expect(recipe.stages.map(\.learningRate) == [1e-4, 5e-5])
    #expect(recipe.stages.allSatisfy { $0.epochs == 10 && $0.warmUp == 0.03 && $0.weightDecay == 0 })
    #expect(recipe.stages.allSatisfy { $0.tasks == [.finding, .attribute, .organ] && $0.questions.isEmpty })
    #expect(recipe.adapters.rank == 16 && recipe.adapters.alpha == 32 && recipe.adapters.dropout == 0.05)
    // Printed with everything it did not say.
    for name in ["epochs", "learning_rate", "warm_up", "clip", "jittered_versions", "dropout"] {
      #expect(recipe.json.text.contains("\"\(name)\""))
    }
  }

  private static let root = URL(filePath: #filePath).deletingLastPathComponent().appending(path: "../../..").path()

  @Test("The recipes that come with the project can be read") func committed() throws {
    let folder = Self.root + "/Training"
    let names = try FileManager.default.contentsOfDirectory(atPath: folder)
    #expect(Set(names).isSuperset(of: ["petar-tiny.json", "ablation.json", "petar-4b-lora.json", "paper.json"]))
    for name in names { #expect(try !Recipe(path: "\(folder)/\(name)").stages.isEmpty) }
    let paper = try Recipe(path: "\(folder)/paper.json")
    #expect(paper.stages.map(\.trained) == [.projector, .maskEmbedding, .all, .projector, .maskEmbedding, .all])
    #expect(paper.stages.map(\.tasks) == [[.organ], [.organ], [.organ], [.finding], [.finding], [.finding]])
  }

  @Test(
    "A recipe that cannot be meant is refused by the name of the setting",
    arguments: [
      (#"{"stages": [{"name": "a"}]}"#, "checkpoint"),
      (#"{"checkpoint": "a", "model": {}, "stages": [{"name": "a"}]}"#, "either"),
      (#"{"checkpoint": "a", "stages": []}"#, "stages"),
      (#"{"checkpoint": "a", "stages": [{"name": "a", "epoch": 3}]}"#, "\"epoch\""),
      (#"{"checkpoint": "a", "stages": [{"name": "a", "epochs": 0}]}"#, "epochs"),
      (#"{"checkpoint": "a", "stages": [{"name": "a", "learning_rate": -1}]}"#, "learning_rate"),
      (#"{"checkpoint": "a", "stages": [{"name": "a", "train": "head"}]}"#, "mask_embedding"),
      (#"{"checkpoint": "a", "stages": [{"name": "a", "tasks": ["finding", "text"]}]}"#, "tasks"),
      (#"{"checkpoint": "a", "stages": [{"name": "a", "questions": ["What?", 1]}]}"#, "questions"),
      (#"{"checkpoint": "a", "stages": [{"name": "a"}, {"name": "a"}]}"#, "same name"),
      (#"{"checkpoint": "a", "stages": [{"name": "../a"}]}"#, "name"),
      (#"{"checkpoint": "a", "seed": 1, "stages": [{"name": "a"}]}"#, "\"seed\""),
      (#"{"model": {"hiden_size": 64}, "stages": [{"name": "a"}]}"#, "\"hiden_size\""),
      (#"{"checkpoint": "a", "stages": [{"name": "a"}]"#, "JSON"),
    ])
  func refused(_ text: String, _ named: String) throws {
    let error = try #require(throws: PetarError.self) { try recipe(text) }
    #expect(error.status == PETAR_ERROR_BAD_FILE)
    #expect(error.message.contains(named), "\(error.message)")
  }
}
