import CPetar
import Petar

/// A checkpoint folder opened for its weights: the model it describes and the f32 values of every tensor.
package struct CheckpointWeights {
  /// Complete but for the provenance.
  package let description: ModelDescription
  package let plans: [TensorPlan]
  private let tensors: [String: CheckpointTensor]

  /// - Throws: `PETAR_ERROR_BAD_FILE` for a checkpoint that is not a model of this kind, `PETAR_ERROR_IO`.
  package init(folder: String) throws {
    let checkpoint = try Checkpoint(folder: folder)
    let layout = try CheckpointLayout(checkpoint)
    var description = layout.description
    description.prompt.imageToken = try CheckpointTokenizer(folder: folder).imageToken
    try description.validate(source: folder)
    self.description = description
    plans = layout.plans
    tensors = checkpoint.tensors
  }

  /// All values of a planned tensor, row after row, its parts stacked.
  /// - Throws: `PETAR_ERROR_BAD_FILE` naming the tensor when a value is not finite; `PETAR_ERROR_IO`.
  package func read(_ plan: TensorPlan, into target: UnsafeMutablePointer<Float>) throws {
    let columns = plan.kind == .vector ? 1 : plan.parts.first?.shape.last ?? 1
    let block = max((2 << 20) / max(columns, 1), 1)
    let reader = try RowReader(plan, tensors: tensors, blockRows: block)
    for first in stride(from: 0, to: reader.rows, by: block) {
      let count = min(block, reader.rows - first)
      try reader.read(first: first, count: count, into: target + first * reader.columns)
    }
  }
}

/// A .safetensors file of any names, opened to read f32 values from.
package struct TensorFile {
  private let path: String
  private let tensors: [String: CheckpointTensor]

  /// - Throws: `PETAR_ERROR_BAD_FILE` when the file breaks a rule of the format, `PETAR_ERROR_IO`.
  package init(path: String) throws {
    self.path = path
    let all = try Safetensors.tensors(of: SourceFile(path: path)).map { ($0.name, $0) }
    tensors = Dictionary(all) { first, _ in first }
  }

  /// All values of a tensor.
  /// - Throws: `PETAR_ERROR_BAD_FILE` for a tensor that is missing, of another shape or not finite.
  package func read(_ name: String, shape: [Int], into target: UnsafeMutablePointer<Float>) throws {
    guard let tensor = tensors[name], tensor.type != nil, tensor.shape == shape else {
      let found = tensors[name].map { "\($0.typeName) \($0.shape)" } ?? "missing"
      throw PetarError(PETAR_ERROR_BAD_FILE, "\(path): tensor \(name) of shape \(shape) is expected, it is \(found)")
    }
    let plan = TensorPlan(name: name, kind: .vector, parts: [.init(name: name, shape: shape)])
    try RowReader(plan, tensors: tensors, blockRows: 1).read(first: 0, count: 1, into: target)
  }
}
