import COpenBLAS
import Petar
import PetarConversion

/// The result of a product is rows x columns; sums run over depth.
struct Extents {
  var rows: Int
  var columns: Int
  var depth: Int
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
  /// As the function `multiply`, on all threads.
  ///
  /// OpenBLAS runs on one thread and each thread of the pool has a part of the rows or columns of the result: a sum is
  /// never split, there is one set of threads, and it is faster on small products. The parts depend on the shape
  /// alone.
  func multiply(
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
        PetarTraining.multiply(
          rows, b, into: c + first * stride, stride: stride,
          Extents(rows: count, columns: extents.columns, depth: extents.depth), scale: scale, adding: adding)
      } else {
        let columns = Factor(
          b.base + first * (b.transposed ? b.stride : 1), stride: b.stride, transposed: b.transposed)
        PetarTraining.multiply(
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
