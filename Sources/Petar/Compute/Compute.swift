import CKernels
import CPetar

/// `y = (x - mean) / sqrt(variance + epsilon) * weight + bias` of a row.
package struct LayerNormalization {
  package let weight: UnsafePointer<Float>
  package let bias: UnsafePointer<Float>
  package let epsilon: Float

  package init(weight: UnsafePointer<Float>, bias: UnsafePointer<Float>, epsilon: Float) {
    self.weight = weight
    self.bias = bias
    self.epsilon = epsilon
  }
}

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

  package var kernels: pk_kernels { instructionSet.kernels.pointee }

  // ---- Operations on rows -----------------------------------------------------------------------------------------

  /// Each of `rows` rows of `width` normalized. `y` may be `x`.
  package func layerNorm(
    _ x: UnsafePointer<Float>, rows: Int, width: Int, _ norm: LayerNormalization,
    into y: UnsafeMutablePointer<Float>
  ) {
    apply(.layerNorm(norm), x, rows: rows, width: width, into: y)
  }

  /// `y = x / sqrt(mean(x^2) + epsilon) * weight` for each of `rows` rows of `width`. `y` may be `x`.
  package func rmsNorm(
    _ x: UnsafePointer<Float>, rows: Int, width: Int, weight: UnsafePointer<Float>, epsilon: Float,
    into y: UnsafeMutablePointer<Float>
  ) {
    apply(.rmsNorm(weight: weight, epsilon: epsilon), x, rows: rows, width: width, into: y)
  }

  /// `y = silu(gate) * up`: rows of `gate | up` (2 x `width`) to rows of `width`, which must not overlap them.
  package func siluGate(
    _ gateUp: UnsafePointer<Float>, rows: Int, width: Int, into y: UnsafeMutablePointer<Float>
  ) {
    apply(.siluGate, gateUp, rows: rows, width: width, into: y)
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

  /// Calls `body` for every row, in parts that are worth a thread.
  private func overRows(_ rows: Int, _ width: Int, _ body: (Int) -> Void) {
    withoutActuallyEscaping(body) { body in
      withUnsafePointer(to: body) { body in
        overRows(rows, width, body) { body, row, _ in
          body.assumingMemoryBound(to: ((Int) -> Void).self).pointee(row)
        }
      }
    }
  }

  // ---- Without closures: decoding allocates no memory -------------------------------------------------------------

  /// As above; what the rows need is behind `context`. See `ThreadPool.run` for lanes.
  func overRows(_ rows: Int, _ width: Int, _ context: UnsafeRawPointer, _ body: @escaping Job.Body) {
    guard rows > 0, width > 0 else { return }
    var parts = RowParts(rows: rows, part: max((1 << 14) / width, 1), context: context, body: body)
    pool.run((rows + parts.part - 1) / parts.part, &parts) { parts, index, lane in
      parts.assumingMemoryBound(to: RowParts.self).pointee.compute(index, lane: lane)
    }
  }

  private struct RowParts {
    let rows: Int
    let part: Int
    let context: UnsafeRawPointer
    let body: Job.Body

    func compute(_ index: Int, lane: Int) {
      for row in (index * part)..<min((index + 1) * part, rows) { body(context, row, lane) }
    }
  }

  /// What `prelude` makes of each of `rows` rows.
  func apply(
    _ prelude: RowPrelude, _ x: UnsafePointer<Float>, rows: Int, width: Int, into y: UnsafeMutablePointer<Float>
  ) {
    var applying = Applying(kernels: kernels, prelude: prelude, x: x, width: width, y: y)
    overRows(rows, width, &applying) { applying, row, _ in
      applying.assumingMemoryBound(to: Applying.self).pointee.compute(row)
    }
  }

  private struct Applying {
    let kernels: pk_kernels
    let prelude: RowPrelude
    let x: UnsafePointer<Float>
    let width: Int
    let y: UnsafeMutablePointer<Float>

    func compute(_ row: Int) {
      prelude.apply(kernels, x + row * prelude.inputWidth(width), width: width, into: y + row * width)
    }
  }
}
