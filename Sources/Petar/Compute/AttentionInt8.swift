import CKernels
import CPetar

/// The arithmetic of attention over all positions.
package enum AttentionPrecision: Sendable {
  /// Scores, weights and sums in f32: differs from the definition by rounding alone.
  case f32
  /// Both products in int8 with exact int32 sums: a fraction of the time. Beside q8 linear layers, which quantize what
  /// goes into attention and what comes out of it, this adds an error smaller than theirs: see `attention_pack.inc`.
  case int8

  /// Head widths that int8 attention is made for; others take f32.
  package static func int8Takes(headWidth: Int) -> Bool { headWidth <= Int(PK_HEAD_WIDTH) }
}

extension Compute {
  /// `softmax(scale * q kᵀ) v` in int8 for each row and head, every row seeing all rows: see `attention.inc` for what
  /// is computed and how it is rounded.
  ///
  /// Queries, keys and values are rows of `heads * headWidth` floats, `stride` apart; results `outStride` apart.
  /// - Throws: `PETAR_ERROR_INTERNAL` for shapes that do not fit, `PETAR_ERROR_OUT_OF_MEMORY`.
  package func attendInt8(
    queries: UnsafePointer<Float>, keys: UnsafePointer<Float>, values: UnsafePointer<Float>, stride: Int, rows: Int,
    heads: Int, headWidth: Int, scale: Float, into out: UnsafeMutablePointer<Float>, stride outStride: Int,
    scratch: Scratch
  ) throws {
    guard rows > 0 else { return }
    guard heads > 0, headWidth > 0, AttentionPrecision.int8Takes(headWidth: headWidth), rows < 1 << 30,
      min(stride, outStride) >= product(heads, headWidth) ?? Int.max
    else {
      throw PetarError(
        PETAR_ERROR_INTERNAL, "int8 attention: \(rows) rows of \(heads) heads of \(headWidth), stride \(stride)")
    }
    let kernels = kernels
    let headBytes = roundedUp(kernels.head_bytes(rows, headWidth), to: 64)
    guard let bytes = product(heads, headBytes) else {
      throw PetarError(PETAR_ERROR_OUT_OF_MEMORY, "out of memory: attention over \(rows) positions")
    }
    let packed = try scratch.bytes(bytes)
    pool.run(heads) { head in
      kernels.pack_head(
        keys + head * headWidth, values + head * headWidth, stride, rows, headWidth, packed + head * headBytes)
    }
    let block = 4 * Int(PK_QUERIES)
    let blocks = (rows + block - 1) / block
    // Head by head: its keys and values stay in a second-level cache.
    pool.run(heads * blocks) { task in
      let head = task / blocks
      let first = task % blocks * block
      kernels.attend(
        packed + head * headBytes, rows, headWidth, queries + first * stride + head * headWidth, stride,
        min(block, rows - first), scale, out + first * outStride + head * headWidth, outStride)
    }
  }
}
