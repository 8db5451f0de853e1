import Petar

/// `x/2 (1 + erf(x / sqrt 2))`
enum GELU {
  /// `x` becomes the slope there, which the backward pass needs.
  static func forward(
    _ x: UnsafeMutablePointer<Float>, _ part: RowPart, width: Int, into y: UnsafeMutablePointer<Float>
  ) {
    part.forEach(width: width) { rows in
      let first = rows.lowerBound * width
      part.engine.operations.gelu(x + first, rows.count * width, y + first)
    }
  }
}
