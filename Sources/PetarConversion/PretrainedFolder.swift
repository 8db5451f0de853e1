import CPetar
import Petar

/// A Hugging Face folder of any model, opened for its settings and tensors.
package struct PretrainedFolder {
  package let path: String
  /// config.json
  package let config: [String: JSONValue]
  /// generation_config.json; empty when there is none.
  package let generation: [String: JSONValue]
  package let tensors: NamedTensors

  /// - Throws: `PETAR_ERROR_IO`; `PETAR_ERROR_BAD_FILE` for a folder without config.json or safetensors.
  package init(path: String) throws {
    let checkpoint = try Checkpoint(folder: path)
    self.path = path
    config = checkpoint.config
    generation = checkpoint.generation
    tensors = NamedTensors(source: path, tensors: checkpoint.tensors)
  }
}

/// Tensors of any names, read as f32.
package struct NamedTensors {
  private let source: String
  private let tensors: [String: CheckpointTensor]

  fileprivate init(source: String, tensors: [String: CheckpointTensor]) {
    self.source = source
    self.tensors = tensors
  }

  /// Those of a .safetensors file.
  /// - Throws: `PETAR_ERROR_BAD_FILE` when the file breaks a rule of the format, `PETAR_ERROR_IO`.
  package init(file path: String) throws {
    let all = try Safetensors.tensors(of: SourceFile(path: path)).map { ($0.name, $0) }
    self.init(source: path, tensors: Dictionary(all) { first, _ in first })
  }

  /// nil for a tensor that is not there.
  package func shape(of name: String) -> [Int]? { tensors[name]?.shape }

  /// All values of a tensor.
  /// - Throws: `PETAR_ERROR_BAD_FILE` for a tensor that is missing, of another shape or not finite.
  package func read(_ name: String, shape: [Int], into target: UnsafeMutablePointer<Float>) throws {
    guard let tensor = tensors[name], tensor.type != nil, tensor.shape == shape else {
      let found = tensors[name].map { "\($0.typeName) \($0.shape)" } ?? "missing"
      throw PetarError(PETAR_ERROR_BAD_FILE, "\(source): tensor \(name) of shape \(shape) is expected, it is \(found)")
    }
    let plan = TensorPlan(name: name, kind: .vector, parts: [.init(name: name, shape: shape)])
    try RowReader(plan, tensors: tensors, blockRows: 1).read(first: 0, count: 1, into: target)
  }
}
