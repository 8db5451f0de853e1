import CPetar

/// Keys and values of one attention layer, for every position seen so far, packed so that scores and weighted sums
/// are linear layers with f32 weights: keys `[head][position / 16][headWidth][16]`, values
/// `[head][headWidth / 16][position][16]`.
package final class KeyValues {
  package let heads: Int
  package let headWidth: Int
  package let capacity: Int
  package private(set) var count = 0

  private let keys: Buffer<Float>
  private let values: Buffer<Float>

  /// - Throws: `PETAR_ERROR_OUT_OF_MEMORY`, `PETAR_ERROR_INTERNAL` for sizes that are not positive.
  package init(heads: Int, headWidth: Int, capacity: Int) throws {
    guard heads > 0, headWidth > 0, capacity > 0, heads <= 1 << 16, headWidth <= 1 << 16, capacity < 1 << 30 else {
      throw PetarError(
        PETAR_ERROR_INTERNAL, "keys and values cannot have \(heads) heads of \(headWidth) and \(capacity) positions")
    }
    self.heads = heads
    self.headWidth = headWidth
    self.capacity = capacity
    let positions = roundedUp(capacity, to: 16)
    keys = try Buffer(count: product(heads, headWidth, positions) ?? Int.max)
    values = try Buffer(count: product(heads, roundedUp(headWidth, to: 16), positions) ?? Int.max)
  }

  /// Floats from one panel of 16 value columns to the next.
  var valuePanel: Int { roundedUp(capacity, to: 16) * 16 }
  func keys(head: Int) -> UnsafeMutablePointer<Float> { keys.base + head * headWidth * roundedUp(capacity, to: 16) }
  func values(head: Int) -> UnsafeMutablePointer<Float> {
    values.base + head * roundedUp(headWidth, to: 16) / 16 * valuePanel
  }

  /// Appends positions: `rows` rows that hold `heads * headWidth` floats each, `keyStride` and `valueStride` apart.
  /// - Throws: `PETAR_ERROR_INTERNAL` if they do not fit.
  package func append(
    keys newKeys: UnsafePointer<Float>, keyStride: Int, values newValues: UnsafePointer<Float>, valueStride: Int,
    rows: Int, pool: ThreadPool
  ) throws {
    guard rows >= 0, rows <= capacity - count else {
      throw PetarError(
        PETAR_ERROR_INTERNAL, "\(rows) positions do not fit behind \(count) of \(capacity) in the KV cache")
    }
    let first = count
    let (width, valuePanel) = (headWidth, valuePanel)
    let appendHead = { (head: Int) in
      let keys = self.keys(head: head)
      let values = self.values(head: head)
      for row in 0..<rows {
        let position = first + row
        let key = newKeys + row * keyStride + head * width
        let value = newValues + row * valueStride + head * width
        let keyTarget = keys + position / 16 * 16 * width + position % 16
        let valueTarget = values + position * 16
        for column in 0..<width {
          keyTarget[column * 16] = key[column]
          valueTarget[column / 16 * valuePanel + column % 16] = value[column]
        }
      }
    }
    if rows > 16 {
      pool.run(heads, appendHead)
    } else {
      for head in 0..<heads { appendHead(head) }
    }
    count += rows
  }

  /// Forgets the positions from `count` on.
  package func truncate(to count: Int) { self.count = min(max(count, 0), self.count) }
}
