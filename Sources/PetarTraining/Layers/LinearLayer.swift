import Petar

/// `y = W x + b`, with low-rank adapters beside it if the parameters have some.
struct LinearLayer {
  /// (outputs, inputs)
  let weight: Weight
  let bias: Weight?
  private let adapters: [Adapter]

  /// `y[firstOutput...] += scale up down x`
  private struct Adapter {
    let firstOutput: Int
    let down: Weight
    let up: Weight
    let scale: Float

    var isTrained: Bool { down.isTrained || up.isTrained }
  }

  init(_ parameters: Parameters, weight name: String, bias: String? = nil) throws {
    weight = try Weight(parameters, name)
    self.bias = try bias.map { try Weight(parameters, $0) }
    var adapters: [Adapter] = []
    var first = 0
    for part in try parameters.tensor(name).parts {
      let names = AdapterNames(part)
      if parameters.has(names.down) {
        adapters.append(
          Adapter(
            firstOutput: first, down: try Weight(parameters, names.down), up: try Weight(parameters, names.up),
            scale: parameters.adapterScale))
      }
      first += part.shape[0]
    }
    self.adapters = adapters
  }

  var inputs: Int { weight.columns }
  var outputs: Int { weight.rows }
  var isTrained: Bool {
    weight.isTrained || bias?.isTrained ?? false || adapters.contains(where: \.isTrained)
  }

  /// `rows` rows of `inputs` to rows of `outputs`, plus the rows of `residual` if there are some. `y` may be
  /// `residual`.
  func forward(
    _ x: UnsafePointer<Float>, rows: Int, into y: UnsafeMutablePointer<Float>,
    residual: UnsafePointer<Float>? = nil, _ engine: Engine
  ) throws {
    // The product is added to what is there, so bias and residual cost no pass of their own.
    let bias = bias?.values
    let prepared = bias != nil || residual != nil
    if prepared, residual != UnsafePointer(y) || bias != nil {
      engine.overRows(rows, width: outputs) { first, count in
        for row in first..<(first + count) {
          engine.operations.add_bias(residual.map { $0 + row * outputs }, bias, outputs, y + row * outputs)
        }
      }
    }
    engine.multiply(
      Factor(x, stride: inputs), Factor(weight.values, stride: inputs, transposed: true), into: y, stride: outputs,
      Extents(rows: rows, columns: outputs, depth: inputs), adding: prepared)
    for adapter in adapters {
      try engine.arena.scoped {
        let low = try project(x, rows: rows, adapter, engine)
        let rank = adapter.up.columns
        engine.multiply(
          Factor(low, stride: rank), Factor(adapter.up.values, stride: rank, transposed: true),
          into: y + adapter.firstOutput, stride: outputs,
          Extents(rows: rows, columns: adapter.up.rows, depth: rank), scale: adapter.scale, adding: true)
      }
    }
  }

  /// Adds the gradients of what is trained, from the inputs and the outputs' gradient, and writes that of the inputs
  /// to `dx` if it is wanted. `dx` must be neither `x` nor `dy`.
  func backward(
    _ x: UnsafePointer<Float>, _ dy: UnsafePointer<Float>, rows: Int, into dx: UnsafeMutablePointer<Float>?,
    _ engine: Engine
  ) throws {
    if let gradient = weight.gradient {
      engine.multiply(
        Factor(dy, stride: outputs, transposed: true), Factor(x, stride: inputs), into: gradient, stride: inputs,
        Extents(rows: outputs, columns: inputs, depth: rows), adding: true)
    }
    if let gradient = bias?.gradient {
      try engine.sumOverRows(rows, width: outputs, into: gradient) { first, count, sums in
        engine.operations.column_sums(dy + first * outputs, outputs, count, outputs, sums)
      }
    }
    if let dx {
      engine.multiply(
        Factor(dy, stride: outputs), Factor(weight.values, stride: inputs), into: dx, stride: inputs,
        Extents(rows: rows, columns: inputs, depth: outputs))
    }
    for adapter in adapters where adapter.isTrained || dx != nil {
      try backward(adapter, x, dy, rows: rows, into: dx, engine)
    }
  }

  private func project(
    _ x: UnsafePointer<Float>, rows: Int, _ adapter: Adapter, _ engine: Engine
  ) throws -> UnsafeMutablePointer<Float> {
    let rank = adapter.down.rows
    let low = try engine.arena.floats(rows * rank)
    engine.multiply(
      Factor(x, stride: inputs), Factor(adapter.down.values, stride: inputs, transposed: true), into: low,
      stride: rank, Extents(rows: rows, columns: rank, depth: inputs))
    return low
  }

  private func backward(
    _ adapter: Adapter, _ x: UnsafePointer<Float>, _ dy: UnsafePointer<Float>, rows: Int,
    into dx: UnsafeMutablePointer<Float>?, _ engine: Engine
  ) throws {
    let (rank, outputs) = (adapter.up.columns, adapter.up.rows)
    let dy = dy + adapter.firstOutput
    try engine.arena.scoped {
      if let gradient = adapter.up.gradient {
        let low = try project(x, rows: rows, adapter, engine)
        engine.multiply(
          Factor(dy, stride: self.outputs, transposed: true), Factor(low, stride: rank), into: gradient, stride: rank,
          Extents(rows: outputs, columns: rank, depth: rows), scale: adapter.scale, adding: true)
      }
      let dlow = try engine.arena.floats(rows * rank)
      engine.multiply(
        Factor(dy, stride: self.outputs), Factor(adapter.up.values, stride: rank), into: dlow, stride: rank,
        Extents(rows: rows, columns: rank, depth: outputs), scale: adapter.scale)
      if let gradient = adapter.down.gradient {
        engine.multiply(
          Factor(dlow, stride: rank, transposed: true), Factor(x, stride: inputs), into: gradient, stride: inputs,
          Extents(rows: rank, columns: inputs, depth: rows), adding: true)
      }
      if let dx {
        engine.multiply(
          Factor(dlow, stride: rank), Factor(adapter.down.values, stride: inputs), into: dx, stride: inputs,
          Extents(rows: rows, columns: inputs, depth: rank), adding: true)
      }
    }
  }
}
