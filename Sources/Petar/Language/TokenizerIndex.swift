/// Finds ids by text, byte for byte. (`String` as a key would take canonically equivalent texts for equal.)
struct TokenizerIndex: Sendable {
  private struct Entry {
    var start: Int
    var length: Int
    var id: Int32
  }
  private var bytes: [UInt8] = []
  private var entries: [Entry] = []
  /// Open addressing: positions in `entries`, -1 where free; a power of two, at most half full.
  private var slots: [Int32]
  private(set) var longest = 0

  init(capacity: Int) {
    var size = 16
    while size < 2 * capacity { size *= 2 }
    slots = [Int32](repeating: -1, count: size)
    entries.reserveCapacity(capacity)
  }

  /// False when the text is there already. No more than `capacity` texts may be inserted.
  mutating func insert(_ text: String, id: Int32) -> Bool {
    var text = text
    return text.withUTF8 { utf8 in
      let text = UnsafeRawBufferPointer(utf8)
      let slot = slot(of: text)
      guard slots[slot] < 0, entries.count * 2 < slots.count else { return false }
      slots[slot] = Int32(truncatingIfNeeded: entries.count)
      entries.append(Entry(start: bytes.count, length: text.count, id: id))
      bytes.append(contentsOf: text)
      longest = max(longest, text.count)
      return true
    }
  }

  func find(_ text: UnsafeRawBufferPointer) -> Int32? {
    guard text.count <= longest else { return nil }
    let entry = slots[slot(of: text)]
    return entry < 0 ? nil : entries[Int(entry)].id
  }

  func find(_ text: some Collection<UInt8>) -> Int32? {
    text.withContiguousStorageIfAvailable { find(UnsafeRawBufferPointer($0)) } ?? Array(text).withUnsafeBytes(find)
  }

  /// The slot that holds the text, or the free one where it belongs. Swift's hash is seeded for each process, so
  /// that no file can be made in which all texts collide.
  private func slot(of text: UnsafeRawBufferPointer) -> Int {
    var hasher = Hasher()
    hasher.combine(bytes: text)
    var slot = hasher.finalize() & (slots.count - 1)
    bytes.withUnsafeBytes { bytes in
      while slots[slot] >= 0 {
        let entry = entries[Int(slots[slot])]
        if entry.length == text.count,
          UnsafeRawBufferPointer(rebasing: bytes[entry.start..<(entry.start + entry.length)]).elementsEqual(text)
        {
          break
        }
        slot = (slot + 1) & (slots.count - 1)
      }
    }
    return slot
  }
}

/// Finds the longest of a set of texts that starts at a position.
struct TokenizerTrie: Sendable {
  /// A node takes far more memory than the byte of a file that asks for it.
  private static let maximumNodes = 1 << 20
  /// (node << 8 | byte) -> node.
  private var edges: [UInt64: UInt32] = [:]
  /// The id that ends in a node, or -1.
  private var ends: [Int32] = [-1]
  private var starts = [Bool](repeating: false, count: 256)
  var isEmpty: Bool { edges.isEmpty }

  /// False when there would be more nodes than `maximumNodes`.
  mutating func insert(_ text: some Sequence<UInt8>, id: Int32) -> Bool {
    var node: UInt32 = 0
    for byte in text {
      if node == 0 { starts[Int(byte)] = true }
      let key = UInt64(node) << 8 | UInt64(byte)
      if let next = edges[key] {
        node = next
      } else {
        guard ends.count < Self.maximumNodes else { return false }
        let next = UInt32(truncatingIfNeeded: ends.count)
        edges[key] = next
        ends.append(-1)
        node = next
      }
    }
    if node != 0 { ends[Int(node)] = id }
    return true
  }

  func longestMatch(in text: UnsafeRawBufferPointer, at position: Int) -> (length: Int, id: Int32)? {
    guard position < text.count, starts[Int(text[position])] else { return nil }
    var best: (length: Int, id: Int32)?
    var node: UInt32 = 0
    var end = position
    while end < text.count, let next = edges[UInt64(node) << 8 | UInt64(text[end])] {
      node = next
      end += 1
      if ends[Int(node)] >= 0 { best = (end - position, ends[Int(node)]) }
    }
    return best
  }
}
