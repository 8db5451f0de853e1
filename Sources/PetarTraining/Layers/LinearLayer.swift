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

  /// Whether there is no adapter.
  var isPlain: Bool { adapters.isEmpty }

  /// Rows of `inputs` to rows of `outputs`, plus the rows of `residual` if there are some. `y` may be `residual`.
  func forward(
    _ x: UnsafePointer<Float>, _ part: RowPart, into y: UnsafeMutablePointer<Float>,
    residual: UnsafePointer<Float>? = nil, next: Upcoming? = nil
  ) throws {
    part.multiply(
      x, by: weight, transposed: true, into: y,
      then: Epilogue(bias: bias.map { UnsafePointer($0.values) }, rows: residual), next: next)
    for adapter in adapters {
      try part.engine.arena.scoped {
        let low = try project(try kept(x, adapter, part), adapter, part)
        let rank = adapter.up.columns
        part.multiply(
          Factor(low, stride: rank), Factor(adapter.up.values, stride: rank, transposed: true),
          into: y + adapter.firstOutput, stride: outputs, columns: adapter.up.rows, depth: rank, scale: adapter.scale,
          then: Epilogue(rows: y + adapter.firstOutput))
      }
    }
  }

  /// The gradient of the inputs from that of the outputs. `dx` must not be `dy`.
  /// - Parameter multiplies: it multiplies what is in `dx`, the slope of the activation that made the inputs.
  func backward(
    _ dy: UnsafePointer<Float>, _ part: RowPart, into dx: UnsafeMutablePointer<Float>, multiplies: Bool = false,
    isNear: Bool = false, next: Upcoming? = nil
  ) throws {
    if multiplies, !isPlain {
      return try part.engine.arena.scoped {
        let whole = try part.engine.arena.floats(part.rows.count * inputs)
        try backward(dy, part, into: whole)
        part.forEachRow(width: inputs) { row in
          part.engine.operations.scale_by(whole + row * inputs, inputs, dx + row * inputs)
        }
      }
    }
    part.multiply(
      dy, by: weight, transposed: false, into: dx, then: Epilogue(multiplies: multiplies), isNear: isNear, next: next)
    for adapter in adapters {
      try part.engine.arena.scoped {
        let low = Factor(try backward(adapter, dy, part), stride: adapter.down.rows)
        let down = Factor(adapter.down.values, stride: inputs)
        guard adapter.dropout > 0, let seed = part.engine.dropoutSeed else {
          return part.multiply(
            low, down, into: dx, stride: inputs, columns: inputs, depth: adapter.down.rows, then: Epilogue(rows: dx))
        }
        let before = try part.engine.arena.floats(part.rows.count * inputs)
        part.multiply(low, down, into: before, stride: inputs, columns: inputs, depth: adapter.down.rows)
        drop(from: before, into: dx, adapter, seed, part) { $0 + $1 }
      }
    }
  }

  /// For `sumBias`, of `rows` rows in all; nil if there is no bias to be trained.
  func biasSums(_ rows: Int, _ engine: Engine) throws -> RowSums? {
    bias?.gradient == nil ? nil : try RowSums(rows, width: outputs, engine)
  }

  /// Adds the rows of `part` of the outputs' gradient to `sums`: in passing, while they are in a cache.
  func sumBias(_ dy: UnsafePointer<Float>, _ part: RowPart, _ sums: RowSums?) {
    sums?.forEach(in: part) { rows, sums in
      part.engine.operations.column_sums(dy + rows.lowerBound * outputs, outputs, rows.count, outputs, sums)
    }
  }

  /// Adds the gradients of what is trained, from all `rows` rows of inputs and of the outputs' gradient.
  func addGradients(_ x: UnsafePointer<Float>, _ dy: UnsafePointer<Float>, rows: Int, _ engine: Engine) throws {
    engine.run(weightGradient(x, dy, rows: rows, engine))
    try engine.arena.scoped {
      let sums = try biasSums(rows, engine)
      sumBias(dy, engine.all(rows), sums)
      try addOtherGradients(x, dy, rows: rows, biasSums: sums, engine)
    }
  }

  /// What adds the gradient of the weight if it is trained.
  func weightGradient(
    _ x: UnsafePointer<Float>, _ dy: UnsafePointer<Float>, rows: Int, _ engine: Engine
  ) -> [Work] {
    guard let gradient = weight.gradient else { return [] }
    return engine.product(
      Factor(dy, stride: outputs, transposed: true), Factor(x, stride: inputs), into: gradient, stride: inputs,
      Extents(rows: outputs, columns: inputs, depth: rows), then: Epilogue(rows: gradient))
  }

  /// Adds the gradients of the bias and of adapters.
  func addOtherGradients(
    _ x: UnsafePointer<Float>, _ dy: UnsafePointer<Float>, rows: Int, biasSums: RowSums? = nil, _ engine: Engine
  ) throws {
    biasSums?.add(to: bias?.gradient, count: outputs, engine)
    for adapter in adapters where adapter.isTrained {
      try engine.arena.scoped { try addGradients(of: adapter, x, dy, engine.all(rows)) }
    }
  }

  // ---- Adapters: for all rows at once -----------------------------------------------------------------------------

  private func project(
    _ x: UnsafePointer<Float>, _ adapter: Adapter, _ part: RowPart
  ) throws -> UnsafeMutablePointer<Float> {
    let rank = adapter.down.rows
    let low = try part.engine.arena.floats(part.rows.count * rank)
    part.multiply(
      Factor(x, stride: inputs), Factor(adapter.down.values, stride: inputs, transposed: true), into: low,
      stride: rank, columns: rank, depth: inputs)
    return low
  }

  /// The gradient of what `project` makes.
  private func backward(
    _ adapter: Adapter, _ dy: UnsafePointer<Float>, _ part: RowPart
  ) throws -> UnsafeMutablePointer<Float> {
    let rank = adapter.down.rows
    let dlow = try part.engine.arena.floats(part.rows.count * rank)
    part.multiply(
      Factor(dy + adapter.firstOutput, stride: outputs), Factor(adapter.up.values, stride: rank), into: dlow,
      stride: rank, columns: rank, depth: adapter.up.rows, scale: adapter.scale)
    return dlow
  }

  private func addGradients(
    of adapter: Adapter, _ x: UnsafePointer<Float>, _ dy: UnsafePointer<Float>, _ part: RowPart
  ) throws {
    let (rank, rows, engine) = (adapter.down.rows, part.rows.count, part.engine)
    let x = try kept(x, adapter, part)
    if let gradient = adapter.up.gradient {
      engine.multiply(
        Factor(dy + adapter.firstOutput, stride: outputs, transposed: true),
        Factor(try project(x, adapter, part), stride: rank), into: gradient, stride: rank,
        Extents(rows: adapter.up.rows, columns: rank, depth: rows), scale: adapter.scale,
        then: Epilogue(rows: gradient))
    }
    if let gradient = adapter.down.gradient {
      engine.multiply(
        Factor(try backward(adapter, dy, part), stride: rank, transposed: true), Factor(x, stride: inputs),
        into: gradient, stride: inputs, Extents(rows: rank, columns: inputs, depth: rows),
        then: Epilogue(rows: gradient))
    }
  }

  // ---- Dropout ----------------------------------------------------------------------------------------------------

  /// The inputs without the dropped ones, the others scaled up to make up for them; `x` itself without dropout.
  private func kept(
    _ x: UnsafePointer<Float>, _ adapter: Adapter, _ part: RowPart
  ) throws -> UnsafePointer<Float> {
    guard adapter.dropout > 0, let seed = part.engine.dropoutSeed else { return x }
    let result = try part.engine.arena.floats(part.rows.count * inputs)
    drop(from: x, into: result, adapter, seed, part) { $1 }
    return UnsafePointer(result)
  }

  /// `y = combine(y, x kept or 0)`. Which are kept follows from the seed, the adapter and the place alone, so that the
  /// backward pass and a repeated forward pass drop the same.
  private func drop(
    from x: UnsafePointer<Float>, into y: UnsafeMutablePointer<Float>, _ adapter: Adapter, _ seed: UInt64,
    _ part: RowPart, _ combine: (Float, Float) -> Float
  ) {
    let scale = 1 / (1 - adapter.dropout)
    let bound = UInt32(Double(adapter.dropout) * 0x1p32)
    part.forEachRow(width: inputs) { row in
      var random = SplitMix64(seed: seed ^ adapter.number &+ UInt64(row) &* 0x9E6C_63D0_876A_3F6B)
      for index in (row * inputs)..<(row * inputs + inputs) {
        y[index] = combine(y[index], UInt32(truncatingIfNeeded: random.next() >> 32) < bound ? 0 : x[index] * scale)
      }
    }
  }
}

/// FNV-1a, 64 bits.
private func fnv1a(_ text: String) -> UInt64 {
  text.utf8.reduce(0xCBF2_9CE4_8422_2325) { ($0 ^ UInt64($1)) &* 0x100_0000_01B3 }
}
