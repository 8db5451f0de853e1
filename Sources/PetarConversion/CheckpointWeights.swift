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
