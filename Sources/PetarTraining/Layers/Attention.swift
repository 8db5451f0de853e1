import Petar
import PetarConversion

/// The rows of a batch: sequences one after another. Every operation but attention treats rows alike.
struct RowLayout {
  /// The rows of each sequence.
  let sequences: [Range<Int>]

  init(lengths: some Sequence<Int>) {
    var first = 0
    sequences = lengths.map { length in
      defer { first += length }
      return first..<(first + length)
    }
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
    try overHeads(layout, scratch: 1, engine) { sequence, keyHead, scores in
      for block in blocks(of: sequence, keyHead) {
        let keys = block.keys.count
        let out = out + block.rows.lowerBound * width + block.head * headWidth
        self.scores(block, qkv, into: scores)
        withUnsafeTemporaryAllocation(of: Float.self, capacity: block.rows.count) { sums in
          for (index, row) in block.rows.enumerated() {
            let seen = seen(row, block)
            sums[index] = engine.operations.softmax(
              scores + index * keys, seen.lowerBound, seen.upperBound, keys, scale,
              logSums + row * heads + block.head)
          }
          multiply(
            Factor(scores, stride: keys), Factor(value(qkv, block), stride: stride), into: out, stride: width,
            Extents(rows: block.rows.count, columns: headWidth, depth: keys))
          for index in 0..<block.rows.count { engine.kernels.divide(out + index * width, headWidth, sums[index]) }
        }
      }
    }
  }

  /// The gradient of q | k | v, from the gradient of the result and what `forward` left in `logSums`.
  func backward(
    _ qkv: UnsafePointer<Float>, _ dout: UnsafePointer<Float>, _ layout: RowLayout, logSums: UnsafePointer<Float>,
    into dqkv: UnsafeMutablePointer<Float>, _ engine: Engine
  ) throws {
    try overHeads(layout, scratch: 2, engine) { sequence, keyHead, scores in
      clearKeyValue(dqkv, sequence, keyHead)
      let dscores = scores + scratchFloats(sequence.count)
      for block in blocks(of: sequence, keyHead) {
        let keys = block.keys.count
        let within = Extents(rows: block.rows.count, columns: keys, depth: headWidth)
        let out = Factor(dout + block.rows.lowerBound * width + block.head * headWidth, stride: width)
        self.scores(block, qkv, into: scores)
        for (index, row) in block.rows.enumerated() {
          let seen = seen(row, block)
          engine.operations.softmax_again(
            scores + index * keys, seen.lowerBound, seen.upperBound, keys, scale, logSums[row * heads + block.head])
        }
        multiply(
          Factor(scores, stride: keys, transposed: true), out, into: value(dqkv, block), stride: stride,
          Extents(rows: keys, columns: headWidth, depth: block.rows.count), adding: true)
        multiply(
          out, Factor(value(qkv, block), stride: stride, transposed: true), into: dscores, stride: keys, within)
        for row in 0..<block.rows.count {
          engine.operations.softmax_backward(scores + row * keys, dscores + row * keys, keys, scale)
        }
        multiply(
          Factor(dscores, stride: keys), Factor(key(qkv, block), stride: stride), into: query(dqkv, block),
          stride: stride, Extents(rows: block.rows.count, columns: headWidth, depth: keys))
        multiply(
          Factor(dscores, stride: keys, transposed: true), Factor(query(qkv, block), stride: stride),
          into: key(dqkv, block), stride: stride,
          Extents(rows: keys, columns: headWidth, depth: block.rows.count), adding: true)
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
    return min((count / max(parts, 1) + 15) / 16 * 16, max(count, 1))
  }

  private func scratchFloats(_ count: Int) -> Int { (blockRows(count) * count + 15) / 16 * 16 }

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

  /// Calls `body` for each sequence and key head, with memory for the scores of a block, `scratch` times.
  private func overHeads(
    _ layout: RowLayout, scratch: Int, _ engine: Engine,
    _ body: (_ sequence: Range<Int>, _ keyHead: Int, _ scores: UnsafeMutablePointer<Float>) -> Void
  ) throws {
    let floats = scratch * (layout.sequences.map { scratchFloats($0.count) }.max() ?? 0)
    try engine.arena.scoped {
      let scores = try engine.arena.floats(floats * engine.pool.threads)
      engine.pool.run(layout.sequences.count * keyHeads) { task, lane in
        body(layout.sequences[task / keyHeads], task % keyHeads, scores + lane * floats)
      }
    }
  }

  /// `q kᵀ` of a block, rows of `block.keys.count`.
  private func scores(_ block: Block, _ qkv: UnsafePointer<Float>, into scores: UnsafeMutablePointer<Float>) {
    let keys = block.keys.count
    multiply(
      Factor(query(qkv, block), stride: stride), Factor(key(qkv, block), stride: stride, transposed: true),
      into: scores, stride: keys, Extents(rows: block.rows.count, columns: keys, depth: headWidth))
  }

  /// What a row sees, counted from the first of the block's keys.
  private func seen(_ row: Int, _ block: Block) -> Range<Int> {
    guard causal else { return 0..<block.keys.count }
    let end = row + 1 - block.keys.lowerBound
    return max(end - (window ?? end), 0)..<end
  }

  // ---- Places in a row of q | k | v -------------------------------------------------------------------------------

  private func queryPlace(_ block: Block) -> Int { block.rows.lowerBound * stride + block.head * headWidth }
  private func keyPlace(_ block: Block) -> Int { block.keys.lowerBound * stride + (heads + block.keyHead) * headWidth }
  private func valuePlace(_ block: Block) -> Int { keyPlace(block) + keyHeads * headWidth }

  private func query(_ qkv: UnsafePointer<Float>, _ block: Block) -> UnsafePointer<Float> { qkv + queryPlace(block) }
  private func key(_ qkv: UnsafePointer<Float>, _ block: Block) -> UnsafePointer<Float> { qkv + keyPlace(block) }
  private func value(_ qkv: UnsafePointer<Float>, _ block: Block) -> UnsafePointer<Float> { qkv + valuePlace(block) }
  private func query(_ d: UnsafeMutablePointer<Float>, _ block: Block) -> UnsafeMutablePointer<Float> {
    d + queryPlace(block)
  }
  private func key(_ d: UnsafeMutablePointer<Float>, _ block: Block) -> UnsafeMutablePointer<Float> {
    d + keyPlace(block)
  }
  private func value(_ d: UnsafeMutablePointer<Float>, _ block: Block) -> UnsafeMutablePointer<Float> {
    d + valuePlace(block)
  }

  /// Gradients of keys and values are sums over blocks.
  private func clearKeyValue(_ dqkv: UnsafeMutablePointer<Float>, _ sequence: Range<Int>, _ keyHead: Int) {
    for row in sequence {
      let key = dqkv + row * stride + (heads + keyHead) * headWidth
      key.update(repeating: 0, count: headWidth)
      (key + keyHeads * headWidth).update(repeating: 0, count: headWidth)
    }
  }
}
