import Petar
import PetarConversion

/// The rows of a batch: sequences one after another. Every operation but attention treats rows alike.
struct RowLayout {
  /// The rows of each sequence.
  let sequences: [Range<Int>]
  /// Of each row, in its sequence.
  let positions: [Int]

  init(lengths: some Sequence<Int>) {
    var first = 0
    sequences = lengths.map { length in
      defer { first += length }
      return first..<(first + length)
    }
    positions = sequences.flatMap { 0..<$0.count }
  }

  var rows: Int { sequences.last?.upperBound ?? 0 }
  var longest: Int { sequences.map(\.count).max() ?? 0 }
}

/// `softmax(q kᵀ / sqrt(headWidth)) v` within each sequence.
///
/// Rows hold q | k | v, head by head; `heads / keyHeads` neighbouring query heads share a key head. Scores are computed
/// again in the backward pass: what is kept does not grow with the square of the length.
struct Attention {
  let heads: Int
  let keyHeads: Int
  let headWidth: Int
  /// A row sees those up to itself only.
  let causal: Bool
  /// How many of them, itself included; nil for all.
  var window: Int?

  var width: Int { heads * headWidth }
  var stride: Int { (heads + 2 * keyHeads) * headWidth }
  private var scale: Float { 1 / Float(headWidth).squareRoot() }

  /// `layout.rows` rows of q | k | v to rows of `width`.
  /// - Parameter logSums: gets `heads` numbers for each row, which the backward pass needs.
  func forward(
    _ qkv: UnsafePointer<Float>, _ layout: RowLayout, into out: UnsafeMutablePointer<Float>,
    logSums: UnsafeMutablePointer<Float>, _ engine: Engine
  ) throws {
    try overHeads(layout, engine) { sequence, keyHead, scratch in
      let keyColumns = columns(qkv + keyPlace(sequence.lowerBound, keyHead), sequence, in: scratch.keys)
      for block in blocks(of: sequence, keyHead) {
        let (scores, keys) = (scratch.scores, block.keys.count)
        let out = out + resultPlace(block)
        multiply(
          Factor(qkv + queryPlace(block), stride: stride), keyColumns.factor(from: block.firstKey), into: scores,
          stride: keys, Extents(rows: block.rows.count, columns: keys, depth: headWidth))
        withUnsafeTemporaryAllocation(of: Float.self, capacity: block.rows.count) { sums in
          for (index, row) in block.rows.enumerated() {
            let seen = seen(row, block)
            sums[index] = engine.operations.softmax(
              scores + index * keys, seen.lowerBound, seen.upperBound, keys, scale,
              logSums + row * heads + block.head)
          }
          multiply(
            Factor(scores, stride: keys), Factor(qkv + valuePlace(block), stride: stride), into: out, stride: width,
            Extents(rows: block.rows.count, columns: headWidth, depth: keys))
          for index in 0..<block.rows.count { engine.kernels.divide(out + index * width, headWidth, sums[index]) }
        }
      }
    }
  }

  /// The gradient of q | k | v, from the result `out`, its gradient and what `forward` left in `logSums`.
  ///
  /// With p = softmax(s) and dp = dout vᵀ, the scores' gradient is p (dp - Σ p dp), and Σ p dp = dout · out (Dao 2023,
  /// FlashAttention-2, section 3.1), so that one pass over the scores makes both.
  func backward(
    _ qkv: UnsafePointer<Float>, _ out: UnsafePointer<Float>, _ dout: UnsafePointer<Float>, _ layout: RowLayout,
    logSums: UnsafePointer<Float>, into dqkv: UnsafeMutablePointer<Float>, _ engine: Engine
  ) throws {
    try overHeads(layout, engine) { sequence, keyHead, scratch in
      clearKeyValue(dqkv, sequence, keyHead)
      let first = keyPlace(sequence.lowerBound, keyHead)
      let keyColumns = columns(qkv + first, sequence, in: scratch.keys)
      let valueColumns = columns(qkv + first + keyHeads * headWidth, sequence, in: scratch.values)
      let (scores, dscores) = (scratch.scores, scratch.gradients)
      for block in blocks(of: sequence, keyHead) {
        let (rows, keys) = (block.rows.count, block.keys.count)
        let query = Factor(qkv + queryPlace(block), stride: stride)
        let dresult = Factor(dout + resultPlace(block), stride: width)
        let within = Extents(rows: rows, columns: keys, depth: headWidth)
        multiply(query, keyColumns.factor(from: block.firstKey), into: scores, stride: keys, within)
        multiply(dresult, valueColumns.factor(from: block.firstKey), into: dscores, stride: keys, within)
        for (index, row) in block.rows.enumerated() {
          let seen = seen(row, block)
          let mean = engine.operations.dot(
            dresult.base + index * width, out + resultPlace(block) + index * width, headWidth)
          engine.operations.softmax_backward(
            scores + index * keys, dscores + index * keys, seen.lowerBound, seen.upperBound, keys, scale,
            logSums[row * heads + block.head], mean)
        }
        let sums = Extents(rows: keys, columns: headWidth, depth: rows)
        multiply(
          Factor(scores, stride: keys, transposed: true), dresult, into: dqkv + valuePlace(block), stride: stride,
          sums, adding: true)
        multiply(
          Factor(dscores, stride: keys, transposed: true), query, into: dqkv + keyPlace(block), stride: stride, sums,
          adding: true)
        multiply(
          Factor(dscores, stride: keys), Factor(qkv + keyPlace(block), stride: stride), into: dqkv + queryPlace(block),
          stride: stride, Extents(rows: rows, columns: headWidth, depth: keys))
      }
    }
  }

  // ---- Blocks -----------------------------------------------------------------------------------------------------

  /// Some rows of one query head and the rows they see.
  private struct Block {
    let head: Int
    let keyHead: Int
    let rows: Range<Int>
    let keys: Range<Int>
    let sequence: Range<Int>

    /// Counted from the sequence's first row.
    var firstKey: Int { keys.lowerBound - sequence.lowerBound }
  }

  /// Scores of a block fit the second-level cache.
  private static let scoreFloats = 1 << 17
  /// OpenBLAS computes products of up to a million multiplications without packing, which is 20 % faster here.
  private static let unpackedProduct = 1_000_000

  /// Queries that are worked on together.
  private func blockRows(_ count: Int) -> Int {
    let fits = max(Self.scoreFloats / max(count, 1) / 16 * 16, 16)
    let unpacked = Self.unpackedProduct / max(count * headWidth, 1) / 16 * 16
    let most = unpacked >= 32 ? min(unpacked, fits) : fits
    let parts = (count + most - 1) / most
    return min(roundedUp(count / max(parts, 1), to: 16), max(count, 1))
  }

  private func scratchFloats(_ count: Int) -> Int { roundedUp(blockRows(count) * count, to: 16) }

  private func blocks(of sequence: Range<Int>, _ keyHead: Int) -> [Block] {
    let group = heads / keyHeads
    let step = blockRows(sequence.count)
    return (keyHead * group..<(keyHead + 1) * group).flatMap { head in
      Swift.stride(from: sequence.lowerBound, to: sequence.upperBound, by: step).map { first in
        let rows = first..<min(first + step, sequence.upperBound)
        let begin = window.map { max(first - $0 + 1, sequence.lowerBound) } ?? sequence.lowerBound
        let keys = causal ? begin..<rows.upperBound : sequence
        return Block(head: head, keyHead: keyHead, rows: rows, keys: keys, sequence: sequence)
      }
    }
  }

  /// Memory of a thread.
  private struct Scratch {
    /// Of a block.
    let scores, gradients: UnsafeMutablePointer<Float>
    /// Of a sequence, column by column.
    let keys, values: UnsafeMutablePointer<Float>
  }

  /// Calls `body` for each sequence and key head.
  private func overHeads(
    _ layout: RowLayout, _ engine: Engine,
    _ body: (_ sequence: Range<Int>, _ keyHead: Int, _ scratch: Scratch) -> Void
  ) throws {
    let scoreFloats = layout.sequences.map { scratchFloats($0.count) }.max() ?? 0
    let columnFloats = headWidth * Columns.stride(layout.longest)
    try engine.arena.scoped {
      let floats = 2 * (scoreFloats + columnFloats)
      let base = try engine.arena.floats(floats * engine.pool.threads)
      engine.pool.run(layout.sequences.count * keyHeads) { task, lane in
        let base = base + lane * floats
        let columns = base + 2 * scoreFloats
        body(
          layout.sequences[task / keyHeads], task % keyHeads,
          Scratch(
            scores: base, gradients: base + scoreFloats, keys: columns, values: columns + columnFloats))
      }
    }
  }

  /// Keys or values of a sequence, turned: OpenBLAS multiplies by them without packing, which is a sixth faster.
  private struct Columns {
    let base: UnsafePointer<Float>
    let stride: Int

    static func stride(_ rows: Int) -> Int { roundedUp(rows, to: 16) }

    /// (headWidth, rows from `row` on)
    func factor(from row: Int) -> Factor { Factor(base + row, stride: stride) }
  }

  private func columns(
    _ rows: UnsafePointer<Float>, _ sequence: Range<Int>, in memory: UnsafeMutablePointer<Float>
  ) -> Columns {
    let columnStride = Columns.stride(sequence.count)
    transpose(rows, stride: stride, rows: sequence.count, columns: headWidth, into: memory, stride: columnStride)
    return Columns(base: memory, stride: columnStride)
  }

  /// What a row sees, counted from the first of the block's keys.
  private func seen(_ row: Int, _ block: Block) -> Range<Int> {
    guard causal else { return 0..<block.keys.count }
    let end = row + 1 - block.keys.lowerBound
    return max(end - (window ?? end), 0)..<end
  }

  // ---- Places in a row of q | k | v -------------------------------------------------------------------------------

  private func queryPlace(_ block: Block) -> Int { block.rows.lowerBound * stride + block.head * headWidth }
  private func keyPlace(_ row: Int, _ keyHead: Int) -> Int { row * stride + (heads + keyHead) * headWidth }
  private func keyPlace(_ block: Block) -> Int { keyPlace(block.keys.lowerBound, block.keyHead) }
  private func valuePlace(_ block: Block) -> Int { keyPlace(block) + keyHeads * headWidth }
  /// In a row of the result.
  private func resultPlace(_ block: Block) -> Int { block.rows.lowerBound * width + block.head * headWidth }

  /// Gradients of keys and values are sums over blocks.
  private func clearKeyValue(_ dqkv: UnsafeMutablePointer<Float>, _ sequence: Range<Int>, _ keyHead: Int) {
    for row in sequence {
      let key = dqkv + keyPlace(row, keyHead)
      key.update(repeating: 0, count: headWidth)
      (key + keyHeads * headWidth).update(repeating: 0, count: headWidth)
    }
  }
}
