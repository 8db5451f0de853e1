import Petar

/// `y = (x - mean) / sqrt(variance + epsilon) * weight + bias` for each row.
struct LayerNormLayer {
  let weight: Weight
  let bias: Weight
  let epsilon: Float

  var isTrained: Bool { weight.isTrained || bias.isTrained }

  func forward(_ x: UnsafePointer<Float>, rows: Int, into y: UnsafeMutablePointer<Float>, _ engine: Engine) {
    engine.compute.layerNorm(
      x, rows: rows, width: weight.columns,
      LayerNormalization(weight: weight.values, bias: bias.values, epsilon: epsilon), into: y)
  }

  /// Adds the gradient of the inputs to `dx`. Statistics of `x` are computed again: they cost less than their memory.
  func backward(
    _ x: UnsafePointer<Float>, _ dy: UnsafePointer<Float>, rows: Int, addingTo dx: UnsafeMutablePointer<Float>,
    _ engine: Engine
  ) throws {
    let width = weight.columns
    try engine.arena.scoped {
      let sums = try engine.arena.floats(2 * width)
      sums.update(repeating: 0, count: 2 * width)
      try engine.sumOverRows(rows, width: 2 * width, into: sums) { first, count, sums in
        engine.operations.layer_norm_backward(
          x + first * width, dy + first * width, count, width, weight.values, epsilon, dx + first * width,
          isTrained ? sums : nil, isTrained ? sums + width : nil)
      }
      if let gradient = weight.gradient { engine.operations.add_bias(gradient, sums, width, gradient) }
      if let gradient = bias.gradient { engine.operations.add_bias(gradient, sums + width, width, gradient) }
    }
  }
}

/// `y = x / sqrt(mean(x^2) + epsilon) * weight` for each row.
struct RMSNormLayer {
  let weight: Weight
  let epsilon: Float

  var isTrained: Bool { weight.isTrained }

  func forward(_ x: UnsafePointer<Float>, rows: Int, into y: UnsafeMutablePointer<Float>, _ engine: Engine) {
    engine.compute.rmsNorm(
      x, rows: rows, width: weight.columns, weight: weight.values, epsilon: epsilon, into: y)
  }

  /// Adds the gradient of the inputs to `dx`.
  func backward(
    _ x: UnsafePointer<Float>, _ dy: UnsafePointer<Float>, rows: Int, addingTo dx: UnsafeMutablePointer<Float>,
    _ engine: Engine
  ) throws {
    let width = weight.columns
    let backward = engine.operations.rms_norm_backward
    guard let gradient = weight.gradient else {
      return engine.overRows(rows, width: width) { first, count in
        backward?(
          x + first * width, dy + first * width, count, width, weight.values, epsilon, dx + first * width, nil)
      }
    }
    try engine.sumOverRows(rows, width: width, into: gradient) { first, count, sums in
      backward?(x + first * width, dy + first * width, count, width, weight.values, epsilon, dx + first * width, sums)
    }
  }
}
