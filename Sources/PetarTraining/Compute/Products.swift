import COpenBLAS
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
}

/// `c = scale a b`, or `c += scale a b` if `adding`, on the calling thread.
func multiply(
  _ a: Factor, _ b: Factor, into c: UnsafeMutablePointer<Float>, stride: Int, _ extents: Extents, scale: Float = 1,
  adding: Bool = false
) {
  guard extents.rows > 0, extents.columns > 0 else { return }
  cblas_sgemm(
    CblasRowMajor, a.transposed ? CblasTrans : CblasNoTrans, b.transposed ? CblasTrans : CblasNoTrans,
    Int32(clamping: extents.rows), Int32(clamping: extents.columns), Int32(clamping: extents.depth), scale, a.base,
    Int32(clamping: a.stride), b.base, Int32(clamping: b.stride), adding ? 1 : 0, c, Int32(clamping: stride))
}

/// As `multiply`, in products of at most a million multiplications where OpenBLAS has kernels for them: these read the
/// factors where they lie, while larger products copy them first. 8 to 14 % faster on the gradients of weights and of
/// inputs, at 105 to 114 GFLOP/s of 117 (OpenBLAS 0.3.21, SkylakeX on a Zen 4, one thread); slower with a transposed `b`.
private func multiplyInBlocks(
  _ a: Factor, _ b: Factor, into c: UnsafeMutablePointer<Float>, stride: Int, _ extents: Extents, scale: Float,
  adding: Bool
) {
  guard OpenBLAS.hasKernelsForSmallProducts, !b.transposed else {
    return multiply(a, b, into: c, stride: stride, extents, scale: scale, adding: adding)
  }
  let block = 96
  func add(_ rows: Range<Int>, _ columns: Range<Int>, _ depth: Range<Int>) {
    let (row, column, k) = (rows.lowerBound, columns.lowerBound, depth.lowerBound)
    multiply(
      Factor(
        a.base + (a.transposed ? k * a.stride + row : row * a.stride + k), stride: a.stride, transposed: a.transposed),
      Factor(b.base + k * b.stride + column, stride: b.stride), into: c + row * stride + column, stride: stride,
      Extents(rows: rows.count, columns: columns.count, depth: depth.count), scale: scale, adding: adding || k > 0)
  }
  func parts(_ count: Int) -> [Range<Int>] {
    Swift.stride(from: 0, to: count, by: block).map { $0..<min($0 + block, count) }
  }
  // The longest side outermost: what is used again then stays in a second-level cache, weights or their gradient.
  let (rows, columns, depth) = (parts(extents.rows), parts(extents.columns), parts(extents.depth))
  if extents.depth > extents.rows {
    for depth in depth { for rows in rows { for columns in columns { add(rows, columns, depth) } } }
  } else {
    for rows in rows { for columns in columns { for depth in depth { add(rows, columns, depth) } } }
  }
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
  /// As the function `multiply`, on all threads, but for the order of the sums.
  ///
  /// OpenBLAS runs on one thread and each thread of the pool has a part of the rows or columns of the result: a sum is
  /// never split, there is one set of threads, and it is faster on small products. The parts depend on the shape
  /// alone.
  package func multiply(
    _ a: Factor, _ b: Factor, into c: UnsafeMutablePointer<Float>, stride: Int, _ extents: Extents, scale: Float = 1,
    adding: Bool = false
  ) {
    let byRows = extents.rows >= extents.columns
    let side = byRows ? extents.rows : extents.columns
    let step = Self.partSize(side, others: byRows ? extents.columns * extents.depth : extents.rows * extents.depth)
    pool.run((side + step - 1) / step) { part in
      let first = part * step
      let count = min(step, side - first)
      if byRows {
        let rows = Factor(
          a.base + first * (a.transposed ? 1 : a.stride), stride: a.stride, transposed: a.transposed)
        multiplyInBlocks(
          rows, b, into: c + first * stride, stride: stride,
          Extents(rows: count, columns: extents.columns, depth: extents.depth), scale: scale, adding: adding)
      } else {
        let columns = Factor(
          b.base + first * (b.transposed ? b.stride : 1), stride: b.stride, transposed: b.transposed)
        multiplyInBlocks(
          a, columns, into: c + first, stride: stride,
          Extents(rows: extents.rows, columns: count, depth: extents.depth), scale: scale, adding: adding)
      }
    }
  }

  /// Parts of a multiple of 16 and an even number of them, of a thousand rows: smaller ones spend too much time
  /// on packing the other factor. A product that takes microseconds is not split.
  private static func partSize(_ side: Int, others: Int) -> Int {
    guard side >= 64, side.multipliedReportingOverflow(by: others).partialValue >= 1 << 19 else { return side }
    let parts = min(2 * max(side / 2048, 1), 32)
    return roundedUp((side + parts - 1) / parts, to: 16)
  }
}
