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
func multiplyInBlocks(
  _ a: Factor, _ b: Factor, into c: UnsafeMutablePointer<Float>, stride: Int, _ extents: Extents, scale: Float,
  adding: Bool
) {
  guard OpenBLAS.hasKernelsForSmallProducts, !b.transposed else {
    return multiply(a, b, into: c, stride: stride, extents, scale: scale, adding: adding)
  }
  let block = 96
  // Depth outermost: a gradient of weights, with what is added to it, then stays in a second-level cache.
  for k in Swift.stride(from: 0, to: extents.depth, by: block) {
    for row in Swift.stride(from: 0, to: extents.rows, by: block) {
      for column in Swift.stride(from: 0, to: extents.columns, by: block) {
        let part = Extents(
          rows: min(block, extents.rows - row), columns: min(block, extents.columns - column),
          depth: min(block, extents.depth - k))
        multiply(
          a.from(row: row, column: k), b.from(row: k, column: column), into: c + row * stride + column,
          stride: stride, part, scale: scale, adding: adding || k > 0)
      }
    }
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
        multiplyInBlocks(
          a.from(row: first), b, into: c + first * stride, stride: stride,
          Extents(rows: count, columns: extents.columns, depth: extents.depth), scale: scale, adding: adding)
      } else {
        multiplyInBlocks(
          a, b.from(column: first), into: c + first, stride: stride,
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
