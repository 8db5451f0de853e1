import CPetar
import Petar
import PetarConversion

/// The tensors of a model as f32, and the gradients of those that are trained.
///
/// Named as in a .petar file (`TensorName`). What a checkpoint stores in parts (q, k and v of a Llama decoder) lies
/// stacked in one tensor; the parts keep the checkpoint's names and shapes.
package final class Parameters {
  package struct Tensor {
    package let name: String
    package let parts: [TensorPlan.Part]
    /// (outputs, inputs) of a linear layer; anything that is no matrix is one row.
    package let rows: Int
    package let columns: Int
    package let values: Buffer<Float>
    /// As `values`; nil while the tensor is frozen.
    package fileprivate(set) var gradient: Buffer<Float>?

    /// Biases and norms are what weight decay leaves alone; they have one side.
    package var decays: Bool { parts.allSatisfy { $0.shape.count > 1 } }
  }

  package let description: ModelDescription
  package private(set) var tensors: [Tensor] = []
  /// What the product of a low-rank adapter counts: alpha / rank.
  package internal(set) var adapterScale: Float = 0
  /// The share of an adapter's inputs that is dropped while it is trained.
  package internal(set) var adapterDropout: Float = 0
  private var places: [String: Int] = [:]

  /// A model of zeros.
  /// - Parameter plans: from `TensorPlanner.plans` or a checkpoint.
  /// - Throws: `PETAR_ERROR_OUT_OF_MEMORY`.
  package init(_ description: ModelDescription, plans: [TensorPlan]) throws {
    self.description = description
    for plan in plans {
      let counts = plan.parts.map { $0.shape.reduce(1, *) }
      let count = counts.reduce(0, +)
      let columns = plan.kind == .vector ? count : plan.parts.first?.shape.last ?? count
      try add(plan.name, plan.parts, rows: count / max(columns, 1), columns: columns)
    }
  }

  /// The weights of a checkpoint folder in the Hugging Face layout.
  /// - Throws: what `CheckpointWeights` throws, `PETAR_ERROR_OUT_OF_MEMORY`.
  package convenience init(checkpoint folder: String) throws {
    let checkpoint = try CheckpointWeights(folder: folder)
    try self.init(checkpoint.description, plans: checkpoint.plans)
    for plan in checkpoint.plans { try checkpoint.read(plan, into: tensor(plan.name).values.base) }
  }

  func add(_ name: String, _ parts: [TensorPlan.Part], rows: Int, columns: Int) throws {
    places[name] = tensors.count
    tensors.append(
      Tensor(
        name: name, parts: parts, rows: rows, columns: columns, values: try Buffer(count: rows * columns),
        gradient: nil))
  }

  /// - Throws: `PETAR_ERROR_INVALID_ARGUMENT` for a name the model does not have.
  package func tensor(_ name: String) throws -> Tensor {
    guard let place = places[name] else {
      throw PetarError(PETAR_ERROR_INVALID_ARGUMENT, "this model has no tensor \(name)")
    }
    return tensors[place]
  }

  package func has(_ name: String) -> Bool { places[name] != nil }

  // ---- What is trained --------------------------------------------------------------------------------------------

  /// Chooses the tensors that are trained, by name; gradients of the chosen start at zero, the others' memory is
  /// given back. A `TrainingModel` made before does not see the change.
  /// - Throws: `PETAR_ERROR_OUT_OF_MEMORY`.
  package func train(where isTrained: (String) -> Bool) throws {
    for index in tensors.indices {
      tensors[index].gradient = isTrained(tensors[index].name) ? try Buffer(count: tensors[index].values.count) : nil
    }
  }

  package func clearGradients() {
    for tensor in tensors { tensor.gradient?.elements.update(repeating: 0) }
  }
}
