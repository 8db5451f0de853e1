import Glibc
import Petar
import Testing

/// A text's queries, keys and values, row by row as `Compute.attend` takes them.
private struct Text {
  let rows: Int
  let qkv: [Float]
}

@Suite("Causal attention of texts side by side") struct CausalAttentionTests {
  private static let (heads, keyHeads, width) = (4, 2, 32)
  private static let stride = (heads + 2 * keyHeads) * width
  private static let texts = [1, 70, 3, 20].enumerated().map { seed, rows in
    Text(rows: rows, qkv: Numbers.ordinary.make(rows * stride, seed: UInt64(seed)))
  }

  /// What the texts get together, each with a cache of its own, in steps of so many rows.
  private func attend(
    _ texts: [Text], _ compute: Compute, steps: [Int], precision: KeyValues.Precision = .int8, window: Int? = nil
  ) throws -> [[Float]] {
    let (heads, stride, outStride) = (Self.heads, Self.stride, Self.heads * Self.width)
    let rotary = try RotaryTable(positions: 80, headWidth: Self.width, theta: 10000)
    let caches = try texts.map { _ in
      try KeyValues(heads: Self.keyHeads, headWidth: Self.width, capacity: 75, precision: precision)
    }
    let qkv = try texts.map { text in
      let copy = try Buffer<Float>(count: text.qkv.count)
      copy.base.update(from: text.qkv, count: text.qkv.count)
      return copy
    }
    let out = try texts.map { try Buffer<Float>(count: $0.rows * outStride) }
    var step = 0
    while true {
      var next: [CausalRows] = []
      for (index, text) in texts.enumerated() where caches[index].count < text.rows {
        let first = caches[index].count
        next.append(
          CausalRows(
            qkv: qkv[index].base + first * stride, rows: min(steps[step % steps.count], text.rows - first),
            caches[index], into: out[index].base + first * outStride))
      }
      if next.isEmpty { break }
      try compute.attend(next, heads: heads, window: window, rotary, scratch: Scratch())
      step += 1
    }
    return out.map { Array(UnsafeBufferPointer(start: $0.base, count: $0.count)) }
  }

  @Test("Rows agree with the definition", arguments: [nil, 9])
  func matchesDefinition(window: Int?) throws {
    let text = Self.texts[1]
    let result = try attend([text], compute(nil, threads: 2), steps: [50, 1], precision: .f32, window: window)[0]
    /// Component `i` of a turned head that begins at `column`.
    func turned(_ row: Int, _ column: Int, _ i: Int) -> Double {
      let (half, at) = (Self.width / 2, row * Self.stride + column)
      let angle = Double(row) * pow(10000, -Double(i % half) / Double(half))
      let (a, b) = (Double(text.qkv[at + i % half]), Double(text.qkv[at + i % half + half]))
      return i < half ? a * cos(angle) - b * sin(angle) : b * cos(angle) + a * sin(angle)
    }
    for row in 0..<text.rows {
      for head in 0..<Self.heads {
        let key = (Self.heads + head / (Self.heads / Self.keyHeads)) * Self.width
        let positions = max(row + 1 - (window ?? text.rows), 0)...row
        let weights = positions.map { position in
          exp(
            (0..<Self.width).reduce(0.0) { $0 + turned(row, head * Self.width, $1) * turned(position, key, $1) }
              / Double(Self.width).squareRoot())
        }
        for i in 0..<Self.width {
          let values = positions.map { Double(text.qkv[$0 * Self.stride + key + Self.keyHeads * Self.width + i]) }
          let exact = zip(weights, values).reduce(0) { $0 + $1.0 * $1.1 } / weights.reduce(0, +)
          // As in AttentionTests: weights are off by some 1e-6 of themselves.
          #expect(abs(Double(result[(row * Self.heads + head) * Self.width + i]) - exact) < 5e-6)
        }
      }
    }
  }

  @Test("A text gets the same bits alone and beside others, whatever the steps, threads and instruction set")
  func sameBits() throws {
    let expected = try Self.texts.map { text in try attend([text], compute(), steps: [text.rows])[0] }
    for set in instructionSets {
      for threads in [1, 2, 7] {
        let compute = try compute(set, threads: threads)
        for steps in [[75], [1], [2, 7, 1]] {
          for (result, text) in zip(try attend(Self.texts, compute, steps: steps), expected) {
            #expect(bits(result) == bits(text))
          }
        }
      }
    }
  }

  @Test("Only the last results, side by side, have the bits they have among all", arguments: [0, 1, 33, 70])
  func lastResults(count: Int) throws {
    let text = Self.texts[1]
    let compute = try compute()
    let expected = try attend([text], compute, steps: [text.rows])[0]
    let width = Self.heads * Self.width
    let rotary = try RotaryTable(positions: 80, headWidth: Self.width, theta: 10000)
    let cache = try KeyValues(heads: Self.keyHeads, headWidth: Self.width, capacity: 75, precision: .int8)
    let qkv = try Buffer<Float>(count: text.qkv.count)
    qkv.base.update(from: text.qkv, count: text.qkv.count)
    let out = try Buffer<Float>(count: text.rows * width)
    out.base.update(repeating: -1, count: out.count)
    let rows = CausalRows(qkv: qkv.base, rows: text.rows, results: count, cache, into: out.base)
    try compute.attend([rows], heads: Self.heads, window: nil, rotary, scratch: Scratch())
    let result = Array(UnsafeBufferPointer(start: out.base, count: out.count))
    #expect(bits(Array(result.prefix(count * width))) == bits(Array(expected.suffix(count * width))))
    #expect(result.dropFirst(count * width).allSatisfy { $0 == -1 })
    #expect(cache.count == text.rows)
  }

  @Test("Rows that do not fit are refused, and no cache has changed")
  func refused() throws {
    let compute = try compute()
    let rotary = try RotaryTable(positions: 80, headWidth: Self.width, theta: 10000)
    let caches = try [8, 4].map { try KeyValues(heads: Self.keyHeads, headWidth: Self.width, capacity: $0) }
    let memory = try Buffer<Float>(count: 5 * Self.stride)
    let texts = caches.map { CausalRows(qkv: memory.base, rows: 5, $0, into: memory.base) }
    #expect(throws: PetarError.self) {
      try compute.attend(texts, heads: Self.heads, window: nil, rotary, scratch: Scratch())
    }
    #expect(throws: PetarError.self) {
      try compute.attend([texts[0]], heads: 3, window: nil, rotary, scratch: Scratch())
    }
    #expect(caches.map(\.count) == [0, 0])
  }
}
