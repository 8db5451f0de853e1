import CPetar
import Foundation
import Petar

/// A checkpoint folder in the Hugging Face layout, opened: its settings and where its tensors lie.
struct Checkpoint {
  let folder: String
  let config: [String: JSONValue]
  /// Empty when there is no generation_config.json.
  let generation: [String: JSONValue]
  let tensors: [String: CheckpointTensor]
  /// What was opened: settings, index and weights.
  let files: [SourceFile]
  /// The text of the folder's licence file.
  let licence: String?
  /// The lines of `typical_findings.txt`, if the folder has one: findings as the model writes them.
  let typicalFindings: [String]

  /// - Throws: `PETAR_ERROR_IO`, `PETAR_ERROR_BAD_FILE`; a folder with nothing but pickled weights is told how to
  ///   make safetensors of them.
  init(folder: String) throws {
    let names: [String]
    do {
      names = try FileManager.default.contentsOfDirectory(atPath: folder).sorted()
    } catch {
      throw PetarError(PETAR_ERROR_IO, "cannot open the checkpoint folder \(folder): is it there, and a folder?")
    }
    self.folder = folder
    var files: [SourceFile] = []
    func open(_ name: String) throws -> SourceFile {
      let file = try SourceFile(path: "\(folder)/\(name)")
      files.append(file)
      return file
    }
    func object(_ name: String) throws -> [String: JSONValue] {
      try JSONValue.object(try open(name).readAll(), source: "\(folder)/\(name)")
    }

    guard names.contains("config.json") else {
      throw PetarError(
        PETAR_ERROR_BAD_FILE, "\(folder): there is no config.json; give the folder of a Hugging Face checkpoint")
    }
    config = try object("config.json")
    generation = names.contains("generation_config.json") ? try object("generation_config.json") : [:]

    let single = "model.safetensors"
    let index = "model.safetensors.index.json"
    switch (names.contains(single), names.contains(index)) {
    case (true, true):
      throw PetarError(
        PETAR_ERROR_BAD_FILE,
        "\(folder): there are both \(single) and \(index); remove the one that does not belong to this checkpoint")
    case (true, false):
      tensors = try Self.tensors(shards: [try open(single)])
    case (false, true):
      let map = try Self.weightMap(try object(index), source: "\(folder)/\(index)")
      var shards: [SourceFile] = []
      for shard in Set(map.values).sorted() {
        guard names.contains(shard) else {
          throw PetarError(PETAR_ERROR_BAD_FILE, "\(folder): \(shard) is missing, \(index) names it; download it too")
        }
        shards.append(try open(shard))
      }
      tensors = try Self.tensors(shards: shards)
      try Self.compare(tensors, with: map, source: "\(folder)/\(index)")
    case (false, false):
      throw Self.noWeights(folder: folder, names: names)
    }
    self.files = files
    let licenceName = ["LICENSE", "LICENSE.txt", "LICENSE.md", "LICENCE"].first { names.contains($0) }
    licence = try licenceName.map {
      String(decoding: try SourceFile(path: "\(folder)/\($0)").readAll(limit: 1 << 20), as: UTF8.self)
    }
    typicalFindings = names.contains(Self.findingsName) ? try Self.findings("\(folder)/\(Self.findingsName)") : []
  }

  static let findingsName = "typical_findings.txt"

  private static func findings(_ path: String) throws -> [String] {
    typealias Prompt = ModelDescription.Prompt
    let text = String(decoding: try SourceFile(path: path).readAll(limit: 1 << 20), as: UTF8.self)
    let lines = text.split(whereSeparator: \.isNewline).map(String.init)
    guard lines.count <= Prompt.typicalFindingsLimit, lines.allSatisfy({ $0.utf8.count <= Prompt.typicalFindingBytes })
    else {
      throw PetarError(
        PETAR_ERROR_BAD_FILE,
        "\(path): \(lines.count) lines; at most \(Prompt.typicalFindingsLimit) findings of "
          + "\(Prompt.typicalFindingBytes) bytes, one a line, are expected")
    }
    return lines
  }

  // ---- Shards -----------------------------------------------------------------------------------------------------

  private static func tensors(shards: [SourceFile]) throws -> [String: CheckpointTensor] {
    var all: [String: CheckpointTensor] = [:]
    for shard in shards {
      for tensor in try Safetensors.tensors(of: shard) {
        if let other = all.updateValue(tensor, forKey: tensor.name) {
          throw PetarError(
            PETAR_ERROR_BAD_FILE, "tensor \(tensor.name) is in both \(other.file.path) and \(shard.path)")
        }
      }
    }
    return all
  }

  /// Tensor name to file name; the files lie in the folder itself.
  private static func weightMap(_ index: [String: JSONValue], source: String) throws -> [String: String] {
    guard let map = index["weight_map"]?.members, !map.isEmpty else {
      throw PetarError(PETAR_ERROR_BAD_FILE, "\(source): there is no weight_map")
    }
    var shards: [String: String] = [:]
    for (tensor, value) in map {
      guard let name = value.text, name.hasSuffix(".safetensors"), !name.contains("/") else {
        throw PetarError(
          PETAR_ERROR_BAD_FILE,
          "\(source): weight_map gives \(tensor) to \(value.written), no .safetensors file of this folder")
      }
      shards[tensor] = name
    }
    return shards
  }

  private static func compare(
    _ tensors: [String: CheckpointTensor], with map: [String: String], source: String
  ) throws {
    var lines: [String] = []
    for (name, shard) in map.sorted(by: { $0.key < $1.key }) {
      if tensors[name] == nil { lines.append("missing: \(name), which should be in \(shard)") }
    }
    for name in tensors.keys.sorted() where map[name] == nil { lines.append("not in the index: \(name)") }
    guard lines.isEmpty else {
      throw PetarError(
        PETAR_ERROR_BAD_FILE, "\(source): the index and the shards do not agree\n  " + lines.joined(separator: "\n  "))
    }
  }

  private static func noWeights(folder: String, names: [String]) -> PetarError {
    let pickles = names.filter { name in [".bin", ".pt", ".pth", ".ckpt"].contains { name.hasSuffix($0) } }
    guard !pickles.isEmpty else {
      return PetarError(
        PETAR_ERROR_BAD_FILE, "\(folder): there is neither model.safetensors nor model.safetensors.index.json")
    }
    return PetarError(
      PETAR_ERROR_BAD_FILE,
      """
      \(folder): the weights are pickled (\(pickles.joined(separator: ", "))). A pickle runs code when it is read, so it \
      is refused. Make safetensors of it where you trust it, with Python, torch and safetensors:

          import pathlib, torch
          from safetensors.torch import save_file
          folder = pathlib.Path("\(folder)")
          tensors = {}
          for part in [\(pickles.map { "\"\($0)\"" }.joined(separator: ", "))]:
              tensors.update(torch.load(folder / part, map_location="cpu", weights_only=True))
          save_file({name: t.clone().contiguous() for name, t in tensors.items()}, folder / "model.safetensors")
      """)
  }
}
