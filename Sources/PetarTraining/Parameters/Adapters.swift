import CPetar
import Petar
import PetarConversion

/// The two tensors of the low-rank adapter beside a linear layer, named as PEFT does.
struct AdapterNames {
  /// (rank, inputs)
  let down: String
  /// (outputs, rank)
  let up: String

  init(_ part: TensorPlan.Part) {
    let layer = part.name.hasSuffix(".weight") ? String(part.name.dropLast(".weight".count)) : part.name
    down = layer + ".lora_A.weight"
    up = layer + ".lora_B.weight"
  }
}

extension Parameters {
  /// Puts an adapter (LoRA, Hu et al. 2021) beside every linear layer of the decoder but the head:
  /// `y = W x + alpha / rank B A x`. A starts uniform within 1 / sqrt(inputs) of zero, B at zero, as PEFT has them.
  ///
  /// `dropout` is the share of inputs that each adapter does without in a step, as PEFT's `lora_dropout`.
  ///
  /// Each checkpoint part (q, k and v of a Llama decoder) has a pair of its own.
  /// - Throws: `PETAR_ERROR_INVALID_ARGUMENT` for a rank below 1 or a second call, `PETAR_ERROR_OUT_OF_MEMORY`.
  package func addAdapters(rank: Int, alpha: Float, dropout: Float = 0, seed: UInt64) throws {
    guard rank > 0, adapterScale == 0 else {
      throw PetarError(
        PETAR_ERROR_INVALID_ARGUMENT, "adapters of rank \(rank): give a rank above 0, and add adapters once")
    }
    adapterScale = alpha / Float(rank)
    adapterDropout = dropout
    var random = SplitMix64(seed: seed)
    for part in tensors.filter(Self.takesAdapter).flatMap(\.parts) {
      let names = AdapterNames(part)
      let (outputs, inputs) = (part.shape[0], part.shape[1])
      try add(names.down, [.init(name: names.down, shape: [rank, inputs])], rows: rank, columns: inputs)
      try add(names.up, [.init(name: names.up, shape: [outputs, rank])], rows: outputs, columns: rank)
      let down = try tensor(names.down).values
      for index in 0..<down.count { down.base[index] = random.uniform() / Float(inputs).squareRoot() }
    }
  }

  /// True for the tensors that `addAdapters` made.
  package static func isAdapter(_ name: String) -> Bool { name.contains(".lora_") }

  private static func takesAdapter(_ tensor: Tensor) -> Bool {
    tensor.name.hasPrefix("decoder.") && tensor.rows > 1 && tensor.name != TensorName.embedding
      && tensor.name != TensorName.head
  }

  /// The values of a tensor with its adapters' products added: without adapters it computes the same.
  func mergedValues(of tensor: Tensor) throws -> Buffer<Float> {
    guard adapterScale != 0, Self.takesAdapter(tensor) else { return tensor.values }
    let merged = try Buffer<Float>(count: tensor.values.count)
    merged.base.update(from: tensor.values.base, count: tensor.values.count)
    var rows = merged.base
    for part in tensor.parts {
      let names = AdapterNames(part)
      let (up, down) = (try self.tensor(names.up), try self.tensor(names.down))
      multiply(
        Factor(up.values.base, stride: up.columns), Factor(down.values.base, stride: down.columns), into: rows,
        stride: tensor.columns, Extents(rows: up.rows, columns: down.columns, depth: up.columns),
        scale: adapterScale, then: Epilogue(rows: rows))
      rows += up.rows * tensor.columns
    }
    return merged
  }
}
