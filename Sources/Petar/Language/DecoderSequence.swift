/// One text on its way through the decoder: the keys and values of the positions read, and the ids to read next.
package final class DecoderSequence {
  /// Positions there is room for.
  package let capacity: Int
  /// Positions read.
  package private(set) var length = 0
  let caches: [KeyValues]

  /// Ids to be read next.
  package var pending: [Int32] = []
  /// Image tokens among `pending` take these rows in order; nil if they are words like any other.
  package var vision: UnsafePointer<Float>?
  /// Logits are wanted after each of the last so many of `pending`.
  package var wanted = 1

  /// Memory is taken as the text grows.
  /// - Throws: `PETAR_ERROR_OUT_OF_MEMORY`.
  init(_ shape: ModelDescription.Decoder, capacity: Int, precision: KeyValues.Precision) throws {
    self.capacity = capacity
    caches = try (0..<shape.layers).map { _ in
      try KeyValues(
        heads: shape.keyValueHeads, headWidth: shape.headWidth, capacity: capacity, precision: precision)
    }
  }

  /// The caches hold `count` positions more.
  func advance(by count: Int) { length += count }

  /// Begins as a copy of `other`, which has the same capacity.
  package func copy(_ other: DecoderSequence) {
    for (cache, source) in zip(caches, other.caches) { cache.copy(source) }
    length = other.length
  }

  /// Forgets the positions from `length` on, those of a step that was broken off included.
  package func truncate(to length: Int) {
    self.length = min(max(length, 0), self.length)
    for cache in caches { cache.truncate(to: self.length) }
  }
}
