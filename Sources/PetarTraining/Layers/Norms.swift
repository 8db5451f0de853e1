import Petar

/// `y = (x - mean) / sqrt(variance + epsilon) * weight + bias` for each row.
struct LayerNormLayer {
  let weight: Weight
  let bias: Weight
  let epsilon: Float

  var isTrained: Bool { weight.isTrained || bias.isTrained }

  func forward(_ x: UnsafePointer<Float>, _ part: RowPart, into y: UnsafeMutablePointer<Float>) {
    let norm = LayerNormalization(weight: weight.values, bias: bias.values, epsilon: epsilon)
    part.apply(.layerNorm(norm), x, width: weight.columns, into: y)
  }

  /// For `backward`, of as many rows.
  func sums(_ rows: Int, _ engine: Engine) throws -> RowSums { try RowSums(rows, width: 2 * weight.columns, engine) }

  /// The gradient of the inputs, plus the rows of `residual` if there are some; those of weight and bias are added to
  /// `sums`. Statistics of `x` are computed again: they cost less than their memory. `dx` may be `residual`.
  func backward(
    _ x: UnsafePointer<Float>, _ dy: UnsafePointer<Float>, _ part: RowPart, into dx: UnsafeMutablePointer<Float>,
    residual: UnsafePointer<Float>? = nil, _ sums: RowSums
  ) {
    let width = weight.columns
    sums.forEach(in: part) { rows, sums in
      let first = rows.lowerBound * width
      part.engine.operations.layer_norm_backward(
        x + first, dy + first, rows.count, width, weight.values, epsilon, residual.map { $0 + first }, dx + first,
        isTrained ? sums : nil, isTrained ? sums + width : nil)
    }
  }

  /// Adds the gradients of what is trained.
  func addGradients(_ sums: RowSums, _ engine: Engine) {
    sums.add(to: weight.gradient, count: weight.columns, engine)
    sums.add(to: bias.gradient, from: weight.columns, count: weight.columns, engine)
  }
}

/// `y = x / sqrt(mean(x^2) + epsilon) * weight` for each row.
struct RMSNormLayer {
  let weight: Weight
  let epsilon: Float

  var isTrained: Bool { weight.isTrained }

  func forward(_ x: UnsafePointer<Float>, _ part: RowPart, into y: UnsafeMutablePointer<Float>) {
    part.apply(.rmsNorm(weight: weight.values, epsilon: epsilon), x, width: weight.columns, into: y)
  }

  /// For `backward`, of as many rows.
  func sums(_ rows: Int, _ engine: Engine) throws -> RowSums { try RowSums(rows, width: weight.columns, engine) }

  /// The gradient of the inputs, plus the rows of `residual` if there are some; that of the weight is added to `sums`.
  /// `dx` may be `residual`.
  func backward(
    _ x: UnsafePointer<Float>, _ dy: UnsafePointer<Float>, _ part: RowPart, into dx: UnsafeMutablePointer<Float>,
    residual: UnsafePointer<Float>? = nil, _ sums: RowSums
  ) {
    let width = weight.columns
    sums.forEach(in: part) { rows, sums in
      let first = rows.lowerBound * width
      part.engine.operations.rms_norm_backward(
        x + first, dy + first, rows.count, width, weight.values, epsilon, residual.map { $0 + first }, dx + first,
        isTrained ? sums : nil)
    }
  }

  /// Adds the gradient of the weight if it is trained.
  func addGradients(_ sums: RowSums, _ engine: Engine) {
    sums.add(to: weight.gradient, count: weight.columns, engine)
  }
}
