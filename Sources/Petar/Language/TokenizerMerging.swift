/// A part of the text on its way to becoming a piece: a character at first, a byte, or a user-defined piece.
struct TokenizerSymbol {
  var start: Int
  /// 0 once it was merged into its left neighbour.
  var length: Int
  /// The piece, or -1.
  var id: Int32
  /// Never merged.
  var frozen = false
}

/// Byte-pair merging: the adjacent pair with the best priority first, the leftmost on ties, until none is left.
///
/// O(n log n) with a heap and a linked list of symbols, as SentencePiece and `tokenizers` do it.
struct TokenizerMerging {
  /// What a pair would become; pairs with a higher priority go first.
  struct Merged {
    var priority: Double
    var id: Int32
  }

  private struct Candidate {
    var priority: Double
    var left: Int
    var right: Int
    /// Of both together: tells an entry that other merges have overtaken.
    var length: Int
    var id: Int32

    func precedes(_ other: Candidate) -> Bool {
      priority > other.priority || (priority == other.priority && left < other.left)
    }
  }

  private var symbols: [TokenizerSymbol]
  private var previous: [Int]
  private var next: [Int]
  private var heap: [Candidate] = []

  /// The symbols that remain of `symbols`, which must be adjacent and in order.
  static func merge(
    _ symbols: [TokenizerSymbol], by rule: (TokenizerSymbol, TokenizerSymbol) -> Merged?
  ) -> [TokenizerSymbol] {
    guard symbols.count > 1 else { return symbols }
    var merging = TokenizerMerging(symbols)
    merging.run(rule)
    return merging.symbols.filter { $0.length > 0 }
  }

  private init(_ symbols: [TokenizerSymbol]) {
    self.symbols = symbols
    previous = Array(-1..<(symbols.count - 1))
    next = Array(1...symbols.count)
    next[symbols.count - 1] = -1
  }

  private mutating func run(_ rule: (TokenizerSymbol, TokenizerSymbol) -> Merged?) {
    for left in 0..<(symbols.count - 1) { consider(left, left + 1, rule) }
    while let best = pop() {
      let left = symbols[best.left]
      let right = symbols[best.right]
      guard left.length > 0, right.length > 0, left.length + right.length == best.length else { continue }
      symbols[best.left].length = best.length
      symbols[best.left].id = best.id
      symbols[best.right].length = 0
      let after = next[best.right]
      next[best.left] = after
      if after >= 0 { previous[after] = best.left }
      consider(previous[best.left], best.left, rule)
      consider(best.left, after, rule)
    }
  }

  private mutating func consider(
    _ left: Int, _ right: Int, _ rule: (TokenizerSymbol, TokenizerSymbol) -> Merged?
  ) {
    guard left >= 0, right >= 0, !symbols[left].frozen, !symbols[right].frozen,
      let merged = rule(symbols[left], symbols[right])
    else { return }
    push(
      Candidate(
        priority: merged.priority, left: left, right: right, length: symbols[left].length + symbols[right].length,
        id: merged.id))
  }

  private mutating func push(_ candidate: Candidate) {
    heap.append(candidate)
    var child = heap.count - 1
    while child > 0 {
      let parent = (child - 1) / 2
      guard heap[child].precedes(heap[parent]) else { break }
      heap.swapAt(child, parent)
      child = parent
    }
  }

  private mutating func pop() -> Candidate? {
    guard let best = heap.first, let last = heap.popLast() else { return nil }
    guard !heap.isEmpty else { return best }
    heap[0] = last
    var parent = 0
    while true {
      var child = 2 * parent + 1
      guard child < heap.count else { break }
      if child + 1 < heap.count, heap[child + 1].precedes(heap[child]) { child += 1 }
      guard heap[child].precedes(heap[parent]) else { break }
      heap.swapAt(child, parent)
      parent = child
    }
    return best
  }
}
