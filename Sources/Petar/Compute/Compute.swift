import CKernels
import CPetar

/// What a network is computed with: the kernels of an instruction set and the threads they run on.
///
/// Rows are tokens. A row of a result depends on its own row of the input alone, bit for bit: not on the rows beside
/// it, the number of threads or the instruction set.
package struct Compute: Sendable {
  package let instructionSet: InstructionSet
  package let pool: ThreadPool

  package init(_ instructionSet: InstructionSet, pool: ThreadPool) {
    self.instructionSet = instructionSet
    self.pool = pool
  }

  var kernels: pk_kernels { instructionSet.kernels.pointee }

  // ---- Operations on rows -----------------------------------------------------------------------------------------

  /// `y = (x - mean) / sqrt(variance + epsilon) * weight + bias` for each of `rows` rows of `width`. `y` may be `x`.
  package func layerNorm(
    _ x: UnsafePointer<Float>, rows: Int, width: Int, weight: UnsafePointer<Float>, bias: UnsafePointer<Float>,
    epsilon: Float, into y: UnsafeMutablePointer<Float>
  ) {
    let kernel = kernels.layer_norm
    overRows(rows, width) { row in kernel?(x + row * width, width, weight, bias, epsilon, y + row * width) }
  }

  /// `y = x / sqrt(mean(x^2) + epsilon) * weight` for each of `rows` rows of `width`. `y` may be `x`.
  package func rmsNorm(
    _ x: UnsafePointer<Float>, rows: Int, width: Int, weight: UnsafePointer<Float>, epsilon: Float,
    into y: UnsafeMutablePointer<Float>
  ) {
    let kernel = kernels.rms_norm
    overRows(rows, width) { row in kernel?(x + row * width, width, weight, epsilon, y + row * width) }
  }

  /// `y = silu(gate) * up`: rows of `gate | up` (2 x `width`) to rows of `width`, which must not overlap them.
  package func siluGate(
    _ gateUp: UnsafePointer<Float>, rows: Int, width: Int, into y: UnsafeMutablePointer<Float>
  ) {
    let kernel = kernels.silu_gate
    overRows(rows, width) { row in kernel?(gateUp + row * 2 * width, width, y + row * width) }
  }

  /// `x/2 (1 + erf(x / sqrt 2))` in place, for `rows` rows of `width`.
  package func gelu(_ x: UnsafeMutablePointer<Float>, rows: Int, width: Int) {
    let kernel = kernels.gelu
    overRows(rows, width) { row in kernel?(x + row * width, width) }
  }

  /// `x += y` for `rows` rows of `width`.
  package func add(_ x: UnsafeMutablePointer<Float>, _ y: UnsafePointer<Float>, rows: Int, width: Int) {
    let kernel = kernels.add
    overRows(rows, width) { row in kernel?(x + row * width, y + row * width, width) }
  }

  /// Rotary position embedding in place, halves rotated: in each of `heads` heads of a row the pairs
  /// `(x[i], x[i + headWidth / 2])` turn by the angle whose cosine and sine are given.
  /// - Parameters:
  ///   - stride: floats from one row to the next.
  ///   - cosines: for each row `headWidth / 2` values; `sines` likewise.
  package func rope(
    _ x: UnsafeMutablePointer<Float>, stride: Int, rows: Int, heads: Int, headWidth: Int,
    cosines: UnsafePointer<Float>, sines: UnsafePointer<Float>
  ) {
    let kernel = kernels.rope
    let half = headWidth / 2
    overRows(rows, heads * headWidth) { row in
      for head in 0..<heads {
        kernel?(x + row * stride + head * headWidth, half, cosines + row * half, sines + row * half)
      }
    }
  }

  /// Calls `body` for every row, in parts that are worth a thread.
  private func overRows(_ rows: Int, _ width: Int, _ body: (Int) -> Void) {
    guard rows > 0, width > 0 else { return }
    let part = max((1 << 14) / width, 1)
    pool.run((rows + part - 1) / part) { index in
      for row in (index * part)..<min((index + 1) * part, rows) { body(row) }
    }
  }
}
