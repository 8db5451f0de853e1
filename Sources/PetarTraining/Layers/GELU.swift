import Petar

/// `x/2 (1 + erf(x / sqrt 2))`
enum GELU {
  /// `x` becomes the derivative at `x`, for `backward`.
  static func forward(
    _ x: UnsafeMutablePointer<Float>, _ part: RowPart, width: Int, into y: UnsafeMutablePointer<Float>
  ) {
    part.forEach(width: width) { rows in
      let first = rows.lowerBound * width
      part.engine.operations.gelu(x + first, rows.count * width, y + first)
    }
  }

  /// `gradient` is that of the outputs and becomes that of the inputs.
  static func backward(
    _ derivative: UnsafePointer<Float>, _ part: RowPart, width: Int, gradient: UnsafeMutablePointer<Float>
  ) {
    part.forEach(width: width) { rows in
      let first = rows.lowerBound * width
      part.engine.operations.scale_by(derivative + first, rows.count * width, gradient + first)
    }
  }
}
