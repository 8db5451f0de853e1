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
  private var group: Int { heads / keyHeads }
  var stride: Int { (heads + 2 * keyHeads) * headWidth }
  private var scale: Float { 1 / Float(headWidth).squareRoot() }

  /// `layout.rows` rows of q | k | v to rows of `width`.
  /// - Parameter logSums: gets `heads` numbers for each row, which the backward pass needs.
  func forward(
    _ qkv: UnsafePointer<Float>, _ layout: RowLayout, into out: UnsafeMutablePointer<Float>,
    logSums: UnsafeMutablePointer<Float>, _ engine: Engine
  ) throws {
    try overHeads(layout, engine) { task, next, scratch in
      let keyColumns = columns(qkv + keyPlace(task), task.sequence, in: scratch.keys)
      let coming = upcoming(qkv, next)
      for (index, block) in blocks(of: task).enumerated() {
        let (scores, keys, scoreStride) = (scratch.scores, block.keys.count, Self.stride(block.keys.count))
        let out = out + resultPlace(block)
        multiply(
          Factor(qkv + queryPlace(block), stride: stride), keyColumns.factor(from: block.firstKey), into: scores,
          stride: scoreStride, Extents(rows: block.rows.count, columns: keys, depth: headWidth), isNear: true,
          next: index == 0 ? coming.queries : nil)
        withUnsafeTemporaryAllocation(of: Float.self, capacity: block.rows.count) { sums in
          for (index, row) in block.rows.enumerated() {
            let seen = seen(row, block)
            sums[index] = engine.operations.softmax(
              scores + index * scoreStride, seen.lowerBound, seen.upperBound, keys, scale,
              logSums + row * heads + block.head)
          }
          multiply(
            Factor(scores, stride: scoreStride), Factor(qkv + valuePlace(block), stride: stride), into: out,
            stride: width, Extents(rows: block.rows.count, columns: headWidth, depth: keys),
            next: coming.keysAndValues.dropFirst(index).first)
          for index in 0..<block.rows.count { engine.kernels.divide(out + index * width, headWidth, sums[index]) }
        }
      }
    }
  }

  /// The gradient of q | k | v, from the result `out`, its gradient and what `forward` left in `logSums`.
  ///
  /// With p = softmax(s) and dp = dout vᵀ, the scores' gradient is p (dp - Σ p dp), and Σ p dp = dout · out (Dao 2023,
  /// FlashAttention-2, section 3.1), so that one pass over the scores makes both.
  /// - Parameter works: what can be done meanwhile.
  func backward(
    _ qkv: UnsafePointer<Float>, _ out: UnsafePointer<Float>, _ dout: UnsafePointer<Float>, _ layout: RowLayout,
    logSums: UnsafePointer<Float>, into dqkv: UnsafeMutablePointer<Float>, beside works: [Work], _ engine: Engine
  ) throws {
    try overHeads(layout, beside: works, engine) { task, next, scratch in
      let keyColumns = columns(qkv + keyPlace(task), task.sequence, in: scratch.keys)
      let valueColumns = columns(qkv + keyPlace(task) + keyHeads * headWidth, task.sequence, in: scratch.values)
      let (coming, comingResults) = (upcoming(qkv, next), upcoming(results: [out, dout], next))
      let (scores, dscores) = (scratch.scores, scratch.gradients)
      // Gradients of keys and values are sums over blocks, the first of which sees all keys if there is no window.
      let blocks = blocks(of: task)
      if window != nil { clearKeyValue(dqkv, task) }
      for (index, block) in blocks.enumerated() {
        let (rows, keys, scoreStride) = (block.rows.count, block.keys.count, Self.stride(block.keys.count))
        let query = Factor(qkv + queryPlace(block), stride: stride)
        let dresult = Factor(dout + resultPlace(block), stride: width)
        let within = Extents(rows: rows, columns: keys, depth: headWidth)
        multiply(
          query, keyColumns.factor(from: block.firstKey), into: scores, stride: scoreStride, within, isNear: true,
          next: index == 0 ? coming.queries : nil)
        multiply(
          dresult, valueColumns.factor(from: block.firstKey), into: dscores, stride: scoreStride, within, isNear: true)
        for (index, row) in block.rows.enumerated() {
          let seen = seen(row, block)
          let mean = engine.operations.dot(
            dresult.base + index * width, out + resultPlace(block) + index * width, headWidth)
          engine.operations.softmax_backward(
            scores + index * scoreStride, dscores + index * scoreStride, seen.lowerBound, seen.upperBound, keys,
            scale, logSums[row * heads + block.head], mean)
        }
        let sums = Extents(rows: keys, columns: headWidth, depth: rows)
        let (dkey, dvalue) = (dqkv + keyPlace(block), dqkv + valuePlace(block))
        let isFirst = index == 0 && window == nil
        multiply(
          Factor(scores, stride: scoreStride, transposed: true), dresult, into: dvalue, stride: stride, sums,
          then: Epilogue(rows: isFirst ? nil : dvalue), next: coming.keysAndValues.dropFirst(index).first)
        multiply(
          Factor(dscores, stride: scoreStride, transposed: true), query, into: dkey, stride: stride, sums,
          then: Epilogue(rows: isFirst ? nil : dkey), next: comingResults.dropFirst(index).first)
        multiply(
          Factor(dscores, stride: scoreStride), Factor(qkv + keyPlace(block), stride: stride),
          into: dqkv + queryPlace(block), stride: stride, Extents(rows: rows, columns: headWidth, depth: keys))
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

  /// Scores of a block and their gradients fit the second-level cache.
  private static let scoreFloats = 1 << 15

  /// Queries that are worked on together.
  private func blockRows(_ count: Int) -> Int {
    let most = max(Self.scoreFloats / max(count, 1) / 16 * 16, 48)
    let parts = (count + most - 1) / most
    return min(roundedUp(count / max(parts, 1), to: 16), max(count, 1))
  }

  private func scratchFloats(_ count: Int) -> Int { blockRows(count) * Self.stride(count) }

  /// Floats from one row of scores to the next: vectors lie in one cache line each, and an odd number of lines spreads
  /// rows over all sets of a cache.
  private static func stride(_ count: Int) -> Int { roundedUp(count, to: 16) | 16 }

  /// Those of one head after the other, from the last rows to the first.
  private func blocks(of task: Task) -> [Block] {
    let (sequence, keyHead) = (task.sequence, task.keyHead)
    let step = blockRows(sequence.count)
    return (keyHead * group..<(keyHead + 1) * group).flatMap { head in
      Swift.stride(from: sequence.lowerBound, to: sequence.upperBound, by: step).reversed().map { first in
        let rows = first..<min(first + step, sequence.upperBound)
        let begin = window.map { max(first - $0 + 1, sequence.lowerBound) } ?? sequence.lowerBound
        let keys = causal ? begin..<rows.upperBound : sequence
        return Block(head: head, keyHead: keyHead, rows: rows, keys: keys, sequence: sequence)
      }
    }
  }

  /// What a thread does at a time: the query heads of a key head in a sequence.
  private struct Task {
    let sequence: Range<Int>
    let keyHead: Int
  }

  /// Memory of a thread.
  private struct Scratch {
    /// Of a block.
    let scores, gradients: UnsafeMutablePointer<Float>
    /// Of a sequence, column by column.
    let keys, values: UnsafeMutablePointer<Float>
  }

  /// Calls `body` for each sequence and key head, with what the thread will probably do after it.
  private func overHeads(
    _ layout: RowLayout, beside works: [Work] = [], _ engine: Engine,
    _ body: (_ task: Task, _ next: Task?, _ scratch: Scratch) -> Void
  ) throws {
    let scoreFloats = layout.sequences.map { scratchFloats($0.count) }.max() ?? 0
    let columnFloats = headWidth * Self.stride(layout.longest)
    let count = layout.sequences.count * keyHeads
    func task(_ index: Int) -> Task {
      Task(sequence: layout.sequences[index / keyHeads], keyHead: index % keyHeads)
    }
    try engine.arena.scoped {
      let floats = 2 * (scoreFloats + columnFloats)
      let base = try engine.arena.floats(floats * engine.pool.threads)
      engine.run(works, count) { index, lane in
        let base = base + lane * floats
        let columns = base + 2 * scoreFloats
        let next = index + engine.pool.threads
        body(
          task(index), next < count ? task(next) : nil,
          Scratch(
            scores: base, gradients: base + scoreFloats, keys: columns, values: columns + columnFloats))
      }
    }
  }

  /// Of a task. A head is a strip of each row, which hardware does not see coming.
  private func upcoming(
    _ qkv: UnsafePointer<Float>, _ task: Task?
  ) -> (queries: Upcoming?, keysAndValues: [Upcoming]) {
    guard let task else { return (nil, []) }
    let (key, count) = (qkv + keyPlace(task), task.sequence.count)
    let query = qkv + task.sequence.lowerBound * stride + task.keyHead * group * headWidth
    return (
      Upcoming(base: query, stride: stride, rows: count, columns: group * headWidth),
      [key, key + keyHeads * headWidth].map { Upcoming(base: $0, stride: stride, rows: count, columns: headWidth) }
    )
  }

  private func upcoming(results: [UnsafePointer<Float>], _ task: Task?) -> [Upcoming] {
    guard let task else { return [] }
    let place = task.sequence.lowerBound * width + task.keyHead * group * headWidth
    return results.map {
      Upcoming(base: $0 + place, stride: width, rows: task.sequence.count, columns: group * headWidth)
    }
  }

  /// Keys or values of a sequence, turned: products need no copies of them then.
  private struct Columns {
    let base: UnsafePointer<Float>
    let stride: Int

    /// (headWidth, rows from `row` on)
    func factor(from row: Int) -> Factor { Factor(base + row, stride: stride) }
  }

  private func columns(
    _ rows: UnsafePointer<Float>, _ sequence: Range<Int>, in memory: UnsafeMutablePointer<Float>
  ) -> Columns {
    let columnStride = Self.stride(sequence.count)
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
  private func keyPlace(_ task: Task) -> Int { keyPlace(task.sequence.lowerBound, task.keyHead) }
  private func valuePlace(_ block: Block) -> Int { keyPlace(block) + keyHeads * headWidth }
  /// In a row of the result.
  private func resultPlace(_ block: Block) -> Int { block.rows.lowerBound * width + block.head * headWidth }

  private func clearKeyValue(_ dqkv: UnsafeMutablePointer<Float>, _ task: Task) {
    for row in task.sequence {
      let key = dqkv + keyPlace(row, task.keyHead)
      key.update(repeating: 0, count: headWidth)
      (key + keyHeads * headWidth).update(repeating: 0, count: headWidth)
    }
  }
}
