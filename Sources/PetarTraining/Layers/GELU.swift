import Petar

/// `x/2 (1 + erf(x / sqrt 2))`
enum GELU {
  static func forward(
    _ x: UnsafePointer<Float>, rows: Int, width: Int, into y: UnsafeMutablePointer<Float>, _ engine: Engine
  ) {
    engine.overRows(rows, width: width) { first, count in
      let part = y + first * width
      part.update(from: x + first * width, count: count * width)
      engine.kernels.gelu(part, count * width)
    }
  }

  /// `gradient` is that of the outputs and becomes that of the inputs.
  static func backward(
    _ x: UnsafePointer<Float>, rows: Int, width: Int, gradient: UnsafeMutablePointer<Float>, _ engine: Engine
  ) {
    engine.overRows(rows, width: width) { first, count in
      engine.operations.gelu_backward(x + first * width, count * width, gradient + first * width)
    }
  }
}
