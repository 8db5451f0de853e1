import CKernels
import CPetar

/// Which positions a row of queries sees.
package enum AttentionMask: Sendable {
  /// All of them.
  case full
  /// Row `r` stands at position `firstPosition + r`. It sees the last `window` positions up to its own, which counts;
  /// without a window all of them.
  case causal(firstPosition: Int, window: Int? = nil)

  func positions(row: Int, count: Int) -> Range<Int> {
    switch self {
    case .full: return 0..<count
    case .causal(let first, let window):
      let end = first + row + 1
      return max(end - (window ?? end), 0)..<end
    }
  }
}

extension Compute {
  /// Rows whose scores are held at a time: a multiple of every kernel's tile.
  static let attentionRows = 48

  /// `softmax(scale * q kᵀ) v` for each row and head.
  ///
  /// With fewer key heads than query heads, `heads / cache.heads` neighbouring query heads share one. Softmax takes
  /// the maximum out first; the division by its sum comes after the sum over values. What a row sees decides its
  /// result alone, as long as keys and values are finite: a row computed by itself (decode) and one in a block of
  /// rows (prefill) are the same bits.
  /// - Parameters:
  ///   - queries: rows of `heads * headWidth` floats, `stride` apart.
  ///   - out: likewise, `outStride` apart.
  /// - Throws: `PETAR_ERROR_INTERNAL` if shapes or mask do not fit the cache, `PETAR_ERROR_OUT_OF_MEMORY`.
  package func attend(
    queries: UnsafePointer<Float>, stride: Int, rows: Int, heads: Int, _ cache: KeyValues, mask: AttentionMask,
    scale: Float, into out: UnsafeMutablePointer<Float>, stride outStride: Int, scratch: Scratch
  ) throws {
    guard rows > 0 else { return }
    try check(stride: min(stride, outStride), rows: rows, heads: heads, cache, mask)
    let scoreStride = roundedUp(cache.count, to: 16)
    // Fewer rows if that many leave threads without work.
    let share = roundedUp((rows * heads + pool.threads * 4 - 1) / (pool.threads * 4), to: 12)
    let block = min(Self.attentionRows, share, rows)
    let blocks = (rows + block - 1) / block
    guard let bytes = product(min(pool.threads, heads * blocks), block, scoreStride, 4) else {
      throw PetarError(PETAR_ERROR_OUT_OF_MEMORY, "out of memory: attention over \(cache.count) positions")
    }
    let scores = try scratch.bytes(bytes).assumingMemoryBound(to: Float.self)
    let attending = Attending(
      compute: self, cache: cache, mask: mask, scale: scale, heads: heads, rows: rows, block: block, blocks: blocks,
      whole: BlockOfRows(
        queries: queries, stride: stride, rows: 0..<rows, out: out, outStride: outStride, scores: scores,
        scoreStride: scoreStride))
    withUnsafePointer(to: attending) { attending in
      pool.run(heads * blocks, attending) { attending, task, lane in
        attending.assumingMemoryBound(to: Attending.self).pointee.compute(task, lane: lane)
      }
    }
  }

  /// The blocks of rows of all heads.
  private struct Attending {
    let compute: Compute
    let cache: KeyValues
    let mask: AttentionMask
    let scale: Float
    let heads: Int
    let rows: Int
    let block: Int
    let blocks: Int
    /// All rows of the first head, and the scores of the first lane.
    let whole: BlockOfRows

    func compute(_ task: Int, lane: Int) {
      let head = task / blocks
      // Late rows see most under a causal mask: they come first.
      let first = (blocks - 1 - task % blocks) * block
      compute.attend(
        BlockOfRows(
          queries: whole.queries + first * whole.stride + head * cache.headWidth, stride: whole.stride,
          rows: first..<min(first + block, rows),
          out: whole.out + first * whole.outStride + head * cache.headWidth, outStride: whole.outStride,
          scores: whole.scores + lane * block * whole.scoreStride, scoreStride: whole.scoreStride),
        keyHead: head / (heads / cache.heads), cache, mask, scale)
    }
  }

  private func check(stride: Int, rows: Int, heads: Int, _ cache: KeyValues, _ mask: AttentionMask) throws {
    var fits = heads > 0 && heads % cache.heads == 0 && cache.count > 0
    fits = fits && stride >= product(heads, cache.headWidth) ?? Int.max
    if case .causal(let first, let window) = mask {
      fits = fits && first >= 0 && rows <= cache.count && first <= cache.count - rows && window ?? 1 > 0
    }
    guard fits else {
      throw PetarError(
        PETAR_ERROR_INTERNAL,
        "attention: \(rows) rows of \(heads) heads, stride \(stride), mask \(mask) do not fit \(cache.heads) heads of "
          + "\(cache.headWidth) and \(cache.count) positions")
    }
  }

  /// Some rows of one query head.
  struct BlockOfRows {
    let queries: UnsafePointer<Float>
    let stride: Int
    let rows: Range<Int>
    let out: UnsafeMutablePointer<Float>
    let outStride: Int
    /// `rows.count` rows of scores, one for each position of the cache.
    let scores: UnsafeMutablePointer<Float>
    let scoreStride: Int
  }

  /// - Parameter ahead: the keys that are read after this head, of a like cache; nil if that is not known.
  func attend(
    _ block: BlockOfRows, keyHead: Int, _ cache: KeyValues, _ mask: AttentionMask, _ scale: Float,
    ahead: UnsafeRawPointer? = nil
  ) {
    let count = block.rows.count
    let seen = { (row: Int) in mask.positions(row: block.rows.lowerBound + row, count: cache.count) }
    let (begin, end) = (seen(0).lowerBound, seen(count - 1).upperBound)

    var scores = pk_linear()
    scores.weights = UnsafeRawPointer(cache.keys(head: keyHead))
    scores.panel_bytes = cache.keyPanelBytes
    scores.outputs = end
    scores.column_end = cache.headWidth
    scores.ahead = UnsafeRawPointer(cache.values(head: keyHead))
    scores.ahead_panel_bytes = cache.valuePanelBytes
    scores.x = block.queries
    scores.x_stride = block.stride
    scores.out = block.scores
    scores.out_stride = block.scoreStride
    scores.epilogue = PK_STORE
    let linear = cache.precision == .f32 ? kernels.linear_f32 : kernels.linear_i8
    let scales = cache.scales(head: keyHead)
    let (first, last) = (begin / 16 * 16, roundedUp(end, to: 16))
    linear?(&scores, 0, count, begin / 16, (end + 15) / 16)

    var sums = pk_linear()
    sums.weights = UnsafeRawPointer(cache.values(head: keyHead))
    sums.panel_bytes = cache.valuePanelBytes
    sums.outputs = cache.headWidth
    sums.column_begin = begin
    sums.column_end = end
    sums.ahead = ahead ?? scores.weights
    sums.ahead_panel_bytes = cache.keyPanelBytes
    sums.x = UnsafePointer(block.scores)
    sums.x_stride = block.scoreStride
    sums.out = block.out
    sums.out_stride = block.outStride
    sums.epilogue = PK_STORE

    withUnsafeTemporaryAllocation(of: Float.self, capacity: count) { weights in
      for row in 0..<count {
        let positions = seen(row)
        let scores = block.scores + row * block.scoreStride
        if let scales { kernels.multiply(scores + first, scales.keys + first, last - first) }
        weights[row] = kernels.softmax(scores, positions.lowerBound, positions.upperBound, first, last, scale)
        if let scales { kernels.multiply(scores + first, scales.values + first, last - first) }
      }
      linear?(&sums, 0, count, 0, (cache.headWidth + 15) / 16)
      for row in 0..<count { kernels.divide(block.out + row * block.outStride, cache.headWidth, weights[row]) }
    }
  }
}
