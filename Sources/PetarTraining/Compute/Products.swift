import COpenBLAS
import CTraining
import Petar
import PetarConversion

/// The result of a product is rows x columns; sums run over depth.
package struct Extents {
  let rows: Int
  let columns: Int
  let depth: Int

  package init(rows: Int, columns: Int, depth: Int) {
    self.rows = rows
    self.columns = columns
    self.depth = depth
  }

  /// Floats of the largest weight that is worth reading again for each part of the rows.
  static let smallWeight = 1 << 20

  /// Whether what is read again and again fits a second-level cache: the weight, or the gradient of one, whose sums run over
  /// the rows of a turned factor. Larger ones are worth the copies that OpenBLAS makes: 1.2 to 1.7 times as fast on the
  /// layers of PETAR-4B.
  fileprivate func areSmall(turned: Bool) -> Bool {
    turned ? rows * columns <= Self.smallWeight / 2 : depth * columns <= Self.smallWeight
  }
}

/// What becomes of a product: bias and rows are added to it, and the sum is written or multiplies what is there.
package struct Epilogue {
  /// For each column.
  let bias: UnsafePointer<Float>?
  /// Laid out as the result, which it may be.
  let rows: UnsafePointer<Float>?
  let multiplies: Bool

  package init(bias: UnsafePointer<Float>? = nil, rows: UnsafePointer<Float>? = nil, multiplies: Bool = false) {
    self.bias = bias
    self.rows = rows
    self.multiplies = multiplies
  }

  func from(row: Int = 0, column: Int = 0, stride: Int) -> Epilogue {
    Epilogue(
      bias: bias.map { $0 + column }, rows: rows.map { $0 + row * stride + column }, multiplies: multiplies)
  }
}

/// Some columns of rows in memory that will be read soon. A guess: they need not be there.
struct Upcoming {
  let base: UnsafePointer<Float>
  let stride: Int
  let rows: Int
  let columns: Int
}

/// `c = scale a b` and `epilogue`, on the calling thread.
///
/// With AVX-512 by a kernel of our own if weights are small and `b` is not transposed: it needs no copies of the factors and
/// asks for memory in time, which makes a step 1.1 times as fast as OpenBLAS 0.3.21 does (Benchmarks/README.md). By OpenBLAS
/// otherwise.
/// - Parameters:
///   - isNear: the result is in a cache already. Memory is asked for, so that it arrives meanwhile.
///   - next: what this thread reads next, as far as that is known: it is asked for as well.
func multiply(
  _ a: Factor, _ b: Factor, into c: UnsafeMutablePointer<Float>, stride: Int, _ extents: Extents, scale: Float = 1,
  then epilogue: Epilogue = Epilogue(), isNear: Bool = false, next: Upcoming? = nil
) {
  guard extents.rows > 0, extents.columns > 0 else { return }
  let operations = ct_operations_best().pointee
  if !b.transposed, extents.areSmall(turned: a.transposed), let multiply = operations.multiply {
    var product = ct_product(
      a, b.base, stride: b.stride, into: c, stride: stride, extents, scale: scale, then: epilogue, isNear: isNear,
      next: next)
    return multiply(&product)
  }
  if epilogue.multiplies {
    return withUnsafeTemporaryAllocation(of: Float.self, capacity: extents.rows * stride) { memory in
      guard let factors = memory.baseAddress else { return }
      multiply(
        a, b, into: factors, stride: stride, extents, scale: scale,
        then: Epilogue(bias: epilogue.bias, rows: epilogue.rows))
      for row in 0..<extents.rows { operations.scale_by(factors + row * stride, extents.columns, c + row * stride) }
    }
  }
  // OpenBLAS adds to what is there.
  if epilogue.bias != nil || epilogue.rows != UnsafePointer(c) && epilogue.rows != nil {
    for row in 0..<extents.rows {
      operations.add_bias(epilogue.rows.map { $0 + row * stride }, epilogue.bias, extents.columns, c + row * stride)
    }
  }
  let adds: Float = epilogue.bias == nil && epilogue.rows == nil ? 0 : 1
  cblas_sgemm(
    CblasRowMajor, a.transposed ? CblasTrans : CblasNoTrans, b.transposed ? CblasTrans : CblasNoTrans,
    Int32(clamping: extents.rows), Int32(clamping: extents.columns), Int32(clamping: extents.depth), scale, a.base,
    Int32(clamping: a.stride), b.base, Int32(clamping: b.stride), adds, c, Int32(clamping: stride))
}

/// A right factor in panels: some columns of all rows, one panel after another, so that each is read as one stream.
struct Panels {
  fileprivate let base: UnsafePointer<Float>
  fileprivate let rows: Int

  /// As the function `multiply`, on processors with the kernel that it names.
  func multiplied(
    by a: Factor, into c: UnsafeMutablePointer<Float>, stride: Int, _ extents: Extents, then epilogue: Epilogue,
    isNear: Bool, next: Upcoming?
  ) {
    guard extents.rows > 0, extents.columns > 0 else { return }
    var product = ct_product(
      a, base, stride: CT_PANEL, panel: CT_PANEL * rows, into: c, stride: stride, extents, scale: 1, then: epilogue,
      isNear: isNear, next: next)
    ct_operations_best().pointee.multiply?(&product)
  }
}

extension ct_product {
  fileprivate init(
    _ a: Factor, _ b: UnsafePointer<Float>, stride bStride: Int, panel: Int = CT_PANEL,
    into c: UnsafeMutablePointer<Float>, stride: Int, _ extents: Extents, scale: Float, then epilogue: Epilogue,
    isNear: Bool, next: Upcoming?
  ) {
    self.init(
      a: a.base, a_row: a.transposed ? 1 : a.stride, a_depth: a.transposed ? a.stride : 1, b: b, b_stride: bStride,
      b_panel: panel, c: c, start: epilogue.rows, c_stride: stride, bias: epilogue.bias, rows: extents.rows,
      columns: extents.columns, depth: extents.depth, scale: scale, times_c: epilogue.multiplies ? 1 : 0,
      is_near: isNear ? 1 : 0, next: next?.base, next_stride: next?.stride ?? 0, next_rows: next?.rows ?? 0,
      next_columns: next?.columns ?? 0)
  }
}

/// What multiplies on this processor, for people.
package var productKernels: String {
  let openBLAS = "OpenBLAS for \(OpenBLAS.core)"
  return ct_operations_best().pointee.multiply == nil ? openBLAS : "own kernel for AVX-512, else \(openBLAS)"
}

/// `y = xᵀ`, on the calling thread.
func transpose(
  _ x: UnsafePointer<Float>, stride: Int, rows: Int, columns: Int, into y: UnsafeMutablePointer<Float>,
  stride resultStride: Int
) {
  cblas_somatcopy(
    CblasRowMajor, CblasTrans, Int32(clamping: rows), Int32(clamping: columns), 1, x, Int32(clamping: stride), y,
    Int32(clamping: resultStride))
}

extension Engine {
  /// The weights (outputs, inputs) as right factors in panels; transposed, those that inputs are multiplied by. Memory lies
  /// in the arena. Nil without the kernel that reads them.
  func panels(of weights: [Weight], transposed: Bool) throws -> [Panels]? {
    guard operations.multiply != nil else { return nil }
    let shapes = weights.map {
      transposed ? (rows: $0.columns, columns: $0.rows) : (rows: $0.rows, columns: $0.columns)
    }
    let results = try shapes.map { try arena.floats(roundedUp($0.columns, to: CT_PANEL) * $0.rows) }
    run(
      weights.indices.flatMap { index in
        let (weight, shape) = (weights[index], shapes[index])
        return Swift.stride(from: 0, to: shape.columns, by: CT_PANEL).map { first in
          let (count, panel) = (min(CT_PANEL, shape.columns - first), results[index] + first * shape.rows)
          return {
            if transposed {
              transpose(
                weight.values + first * weight.columns, stride: weight.columns, rows: count, columns: shape.rows,
                into: panel, stride: CT_PANEL)
            } else {
              for row in 0..<shape.rows {
                (panel + row * CT_PANEL).update(from: weight.values + row * weight.columns + first, count: count)
              }
            }
          }
        }
      })
    return zip(results, shapes).map { Panels(base: $0, rows: $1.rows) }
  }

  /// As the function `multiply`, on all threads, but for the order of the sums.
  package func multiply(
    _ a: Factor, _ b: Factor, into c: UnsafeMutablePointer<Float>, stride: Int, _ extents: Extents, scale: Float = 1,
    then epilogue: Epilogue = Epilogue()
  ) {
    run(product(a, b, into: c, stride: stride, extents, scale: scale, then: epilogue))
  }

  /// What `multiply` does, part by part.
  ///
  /// OpenBLAS runs on one thread and each thread of the pool has a part of the rows or columns of the result: a sum is
  /// never split, there is one set of threads, and it is faster on small products. The parts depend on the shape
  /// alone.
  func product(
    _ a: Factor, _ b: Factor, into c: UnsafeMutablePointer<Float>, stride: Int, _ extents: Extents, scale: Float = 1,
    then epilogue: Epilogue = Epilogue()
  ) -> [Work] {
    let byRows = extents.rows >= extents.columns
    let side = byRows ? extents.rows : extents.columns
    let step = Self.partSize(side, others: byRows ? extents.columns * extents.depth : extents.rows * extents.depth)
    return Swift.stride(from: 0, to: side, by: max(step, 1)).map { first in
      let count = min(step, side - first)
      return {
        if byRows {
          PetarTraining.multiply(
            a.from(row: first), b, into: c + first * stride, stride: stride,
            Extents(rows: count, columns: extents.columns, depth: extents.depth), scale: scale,
            then: epilogue.from(row: first, stride: stride))
        } else {
          PetarTraining.multiply(
            a, b.from(column: first), into: c + first, stride: stride,
            Extents(rows: extents.rows, columns: count, depth: extents.depth), scale: scale,
            then: epilogue.from(column: first, stride: stride))
        }
      }
    }
  }

  /// Parts of a multiple of 16 and an even number of them, of a thousand rows: smaller ones spend too much time
  /// on the other factor. A product that takes microseconds is not split.
  private static func partSize(_ side: Int, others: Int) -> Int {
    guard side >= 64, side.multipliedReportingOverflow(by: others).partialValue >= 1 << 19 else { return side }
    let parts = min(2 * max(side / 2048, 1), 32)
    return roundedUp((side + parts - 1) / parts, to: 16)
  }
}
