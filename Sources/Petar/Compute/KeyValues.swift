import CKernels
import CPetar

/// Keys and values of one attention layer, for every position seen so far, packed so that scores and weighted sums
/// are linear layers with f32 or f16 weights: keys `[head][position / 16][headWidth][16]`, values
/// `[head][headWidth / 16][position][16]`.
package final class KeyValues {
  /// How a number is kept.
  package enum Precision: Sendable {
    case f32
    /// Half the memory, rounded to 11 bits, which is little beside what q8 weights round; the largest magnitude is
    /// 65504. NaN stays NaN.
    case f16
  }

  package let heads: Int
  package let headWidth: Int
  package let capacity: Int
  package let precision: Precision
  package private(set) var count = 0

  private let keys: Buffer<UInt8>
  private let values: Buffer<UInt8>

  /// - Throws: `PETAR_ERROR_OUT_OF_MEMORY`, `PETAR_ERROR_INTERNAL` for sizes that are not positive.
  package init(heads: Int, headWidth: Int, capacity: Int, precision: Precision = .f32) throws {
    guard heads > 0, headWidth > 0, capacity > 0, heads <= 1 << 16, headWidth <= 1 << 16, capacity < 1 << 30 else {
      throw PetarError(
        PETAR_ERROR_INTERNAL, "keys and values cannot have \(heads) heads of \(headWidth) and \(capacity) positions")
    }
    self.heads = heads
    self.headWidth = headWidth
    self.capacity = capacity
    self.precision = precision
    let positionBytes = roundedUp(capacity, to: 16) * (precision == .f32 ? 4 : 2)
    keys = try Buffer(count: product(heads, headWidth, positionBytes) ?? Int.max)
    values = try Buffer(count: product(heads, roundedUp(headWidth, to: 16), positionBytes) ?? Int.max)
  }

  private var elementBytes: Int { precision == .f32 ? 4 : 2 }
  /// Bytes from one panel of 16 positions of keys to the next.
  var keyPanelBytes: Int { headWidth * 16 * elementBytes }
  /// Bytes from one panel of 16 columns of values to the next.
  var valuePanelBytes: Int { roundedUp(capacity, to: 16) * 16 * elementBytes }
  func keys(head: Int) -> UnsafeMutableRawPointer {
    UnsafeMutableRawPointer(keys.base) + head * (roundedUp(capacity, to: 16) / 16) * keyPanelBytes
  }
  func values(head: Int) -> UnsafeMutableRawPointer {
    UnsafeMutableRawPointer(values.base) + head * (roundedUp(headWidth, to: 16) / 16) * valuePanelBytes
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
    let append = precision == .f32 ? pk_append_f32 : pk_append_f16
    let appendHead = { (head: Int) in
      append(
        newKeys + head * self.headWidth, keyStride, newValues + head * self.headWidth, valueStride, rows,
        self.headWidth, first, self.keys(head: head), self.values(head: head), self.valuePanelBytes)
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
