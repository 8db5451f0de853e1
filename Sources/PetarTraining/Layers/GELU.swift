import Petar

/// `x/2 (1 + erf(x / sqrt 2))`
enum GELU {
  static func forward(
    _ x: UnsafePointer<Float>, _ part: RowPart, width: Int, into y: UnsafeMutablePointer<Float>
  ) {
    part.forEachRow(width: width) { row in
      (y + row * width).update(from: x + row * width, count: width)
      part.engine.kernels.gelu(y + row * width, width)
    }
  }

  /// `gradient` is that of the outputs and becomes that of the inputs.
  static func backward(
    _ x: UnsafePointer<Float>, _ part: RowPart, width: Int, gradient: UnsafeMutablePointer<Float>
  ) {
    part.forEach(width: width) { rows in
      let first = rows.lowerBound * width
      part.engine.operations.gelu_backward(x + first, rows.count * width, gradient + first)
    }
  }
}
