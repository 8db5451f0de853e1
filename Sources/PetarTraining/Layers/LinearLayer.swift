import Petar
import PetarConversion

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
    let dropout: Float
    /// Tells the dropped inputs of one adapter from those of another.
    let number: UInt64

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
            scale: parameters.adapterScale, dropout: parameters.adapterDropout, number: fnv1a(names.down)))
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
        let low = try project(try kept(x, rows: rows, adapter, engine), rows: rows, adapter, engine)
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
      let x = try kept(x, rows: rows, adapter, engine)
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
        let seed = adapter.dropout > 0 ? engine.dropoutSeed : nil
        let target = seed == nil ? dx : try engine.arena.floats(rows * inputs)
        engine.multiply(
          Factor(dlow, stride: rank), Factor(adapter.down.values, stride: inputs), into: target, stride: inputs,
          Extents(rows: rows, columns: inputs, depth: rank), adding: seed == nil)
        if let seed {
          drop(from: target, into: dx, rows: rows, adapter, seed, engine) { $0 + $1 }
        }
      }
    }
  }

  // ---- Dropout ----------------------------------------------------------------------------------------------------

  /// The inputs without the dropped ones, the others scaled up to make up for them; `x` itself without dropout.
  private func kept(
    _ x: UnsafePointer<Float>, rows: Int, _ adapter: Adapter, _ engine: Engine
  ) throws -> UnsafePointer<Float> {
    guard adapter.dropout > 0, let seed = engine.dropoutSeed else { return x }
    let result = try engine.arena.floats(rows * inputs)
    drop(from: x, into: result, rows: rows, adapter, seed, engine) { $1 }
    return UnsafePointer(result)
  }

  /// `y = combine(y, x kept or 0)`. Which are kept follows from the seed, the adapter and the place alone, so that the
  /// backward pass and a repeated forward pass drop the same.
  private func drop(
    from x: UnsafePointer<Float>, into y: UnsafeMutablePointer<Float>, rows: Int, _ adapter: Adapter, _ seed: UInt64,
    _ engine: Engine, _ combine: (Float, Float) -> Float
  ) {
    let scale = 1 / (1 - adapter.dropout)
    let bound = UInt32(Double(adapter.dropout) * 0x1p32)
    engine.overRows(rows, width: inputs) { first, count in
      for row in first..<(first + count) {
        var random = SplitMix64(seed: seed ^ adapter.number &+ UInt64(row) &* 0x9E6C_63D0_876A_3F6B)
        for index in (row * inputs)..<(row * inputs + inputs) {
          y[index] = combine(y[index], UInt32(truncatingIfNeeded: random.next() >> 32) < bound ? 0 : x[index] * scale)
        }
      }
    }
  }
}

/// FNV-1a, 64 bits.
private func fnv1a(_ text: String) -> UInt64 {
  text.utf8.reduce(0xCBF2_9CE4_8422_2325) { ($0 ^ UInt64($1)) &* 0x100_0000_01B3 }
}
