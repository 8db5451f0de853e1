import CPetar
import Glibc
import Petar
import Testing

/// Queries, keys and values of one layer, in rows of heads one behind the other.
private struct Layer {
  let rows: Int
  let heads: Int
  let keyHeads: Int
  let width: Int
  let queries: [Float]
  let keys: [Float]
  let values: [Float]

  init(rows: Int, heads: Int, keyHeads: Int, width: Int, seed: UInt64 = 1) {
    self.rows = rows
    self.heads = heads
    self.keyHeads = keyHeads
    self.width = width
    queries = Numbers.ordinary.make(rows * heads * width, seed: seed).map { $0 * 4 }
    keys = Numbers.ordinary.make(rows * keyHeads * width, seed: seed + 1)
    values = Numbers.ordinary.make(rows * keyHeads * width, seed: seed + 2)
  }

  /// A layer whose keys and values are rounded as an int8 cache rounds them.
  private init(rounding layer: Layer) {
    rows = layer.rows
    heads = layer.heads
    keyHeads = layer.keyHeads
    width = layer.width
    queries = layer.queries
    func rounded(_ x: [Float]) -> [Float] {
      stride(from: 0, to: x.count, by: layer.width).flatMap { at in
        let row = x[at..<at + layer.width]
        let largest = row.reduce(0) { max($0, $1.magnitude) }
        return row.map { ($0 * (127 / largest)).rounded(.toNearestOrEven) * (largest / 127) }
      }
    }
    keys = rounded(layer.keys)
    values = rounded(layer.values)
  }

  var rounded: Layer { Layer(rounding: self) }

  var scale: Float { 1 / Float(width).squareRoot() }

  func cache(
    positions: Int, capacity: Int? = nil, _ compute: Compute, precision: KeyValues.Precision = .f32
  ) throws -> KeyValues {
    let cache = try KeyValues(
      heads: keyHeads, headWidth: width, capacity: capacity ?? positions, precision: precision)
    let stride = keyHeads * width
    try cache.append(
      keys: keys, keyStride: stride, values: values, valueStride: stride, rows: positions, compute)
    return cache
  }

  /// Attention for the rows of `range`; causal masks start at its first row.
  func attend(_ compute: Compute, _ cache: KeyValues, _ mask: AttentionMask, _ range: Range<Int>) throws -> [Float] {
    let stride = heads * width
    var out = [Float](repeating: .nan, count: range.count * stride)
    try out.withUnsafeMutableBufferPointer { out in
      guard let base = out.baseAddress else { return }
      try compute.attend(
        queries: Array(queries[range.lowerBound * stride..<range.upperBound * stride]), stride: stride,
        rows: range.count, heads: heads, cache, mask: mask, scale: scale, into: base, stride: stride,
        scratch: Scratch())
    }
    return out
  }

  /// The definition, in double precision.
  func reference(_ sees: (_ row: Int, _ position: Int) -> Bool) -> [Double] {
    var out: [Double] = []
    for row in 0..<rows {
      for head in 0..<heads {
        let keyHead = head / (heads / keyHeads)
        let at = { (position: Int, i: Int) in (position * keyHeads + keyHead) * width + i }
        let positions = (0..<rows).filter { sees(row, $0) }
        let weights = positions.map { position in
          exp(
            Double(scale)
              * (0..<width).reduce(0.0) {
                $0 + Double(queries[(row * heads + head) * width + $1]) * Double(keys[at(position, $1)])
              })
        }
        let sum = weights.reduce(0, +)
        for i in 0..<width {
          out.append(zip(positions, weights).reduce(0.0) { $0 + $1.1 * Double(values[at($1.0, i)]) } / sum)
        }
      }
    }
    return out
  }
}

@Suite("Attention") struct AttentionTests {
  private static let layers = [
    Layer(rows: 1, heads: 1, keyHeads: 1, width: 2), Layer(rows: 37, heads: 2, keyHeads: 2, width: 64),
    Layer(rows: 130, heads: 4, keyHeads: 2, width: 20), Layer(rows: 60, heads: 6, keyHeads: 1, width: 96),
    Layer(rows: 300, heads: 1, keyHeads: 1, width: 34),
  ]

  @Test("Full, causal and windowed attention agree with the definition", arguments: layers.indices)
  func matchesDefinition(_ index: Int) throws {
    let layer = Self.layers[index]
    let compute = try compute(nil, threads: 2)
    let cache = try layer.cache(positions: layer.rows, compute)
    let masks: [(AttentionMask, (Int, Int) -> Bool)] = [
      (.full, { _, _ in true }),
      (.causal(firstPosition: 0), { $1 <= $0 }),
      (.causal(firstPosition: 0, window: 17), { $1 <= $0 && $1 > $0 - 17 }),
      (.causal(firstPosition: 0, window: 1), { $1 == $0 }),
    ]
    for (mask, sees) in masks {
      let result = try layer.attend(compute, cache, mask, 0..<layer.rows)
      // Scores are up to 4 sqrt(width) and rounded like f32 of that size, so weights are off by some 1e-6 of
      // themselves; values are below 1.
      for (value, exact) in zip(result, layer.reference(sees)) { #expect(abs(Double(value) - exact) < 5e-6) }
    }
  }

  @Test("Every instruction set and number of threads gives the bits of the scalar kernels", arguments: layers.indices)
  func sameBits(_ index: Int) throws {
    let layer = Self.layers[index]
    for mask in [AttentionMask.full, .causal(firstPosition: 0), .causal(firstPosition: 0, window: 23)] {
      let scalar = try compute()
      let expected = try layer.attend(
        scalar, layer.cache(positions: layer.rows, scalar), mask, 0..<layer.rows)
      for set in instructionSets {
        for threads in [1, 2, 3, 7] {
          let compute = try compute(set, threads: threads)
          let cache = try layer.cache(positions: layer.rows, compute)
          #expect(try bits(layer.attend(compute, cache, mask, 0..<layer.rows)) == bits(expected))
        }
      }
    }
  }

  @Test("Decoding a row gives the bits of prefilling it in a block", arguments: layers.indices, [nil, 40])
  func decodeIsPrefill(_ index: Int, window: Int?) throws {
    let layer = Self.layers[index]
    let compute = try compute(nil, threads: 2)
    let stride = layer.heads * layer.width
    let cache = try layer.cache(positions: layer.rows, compute)
    let prefill = try layer.attend(compute, cache, .causal(firstPosition: 0, window: window), 0..<layer.rows)
    // The same cache, filled position by position, with room to spare.
    let growing = try KeyValues(heads: layer.keyHeads, headWidth: layer.width, capacity: layer.rows + 100)
    for row in 0..<layer.rows {
      let keyStride = layer.keyHeads * layer.width
      try growing.append(
        keys: Array(layer.keys[row * keyStride..<(row + 1) * keyStride]), keyStride: keyStride,
        values: Array(layer.values[row * keyStride..<(row + 1) * keyStride]), valueStride: keyStride, rows: 1,
        compute)
      let alone = try layer.attend(compute, growing, .causal(firstPosition: row, window: window), row..<row + 1)
      #expect(bits(alone) == bits(prefill[row * stride..<(row + 1) * stride]), "row \(row)")
    }
  }

  /// f32 attention over keys and values rounded by the test itself: what is left is the rounding of f32 sums.
  @Test("An int8 cache holds what its definition says, whatever the instruction set", arguments: layers.indices)
  func int8(_ index: Int) throws {
    let layer = Self.layers[index]
    let rounded = layer.rounded
    var expected: [UInt32]?
    for set in instructionSets {
      let compute = try compute(set, threads: 2)
      let cache = try layer.cache(positions: layer.rows, compute, precision: .int8)
      let result = try layer.attend(compute, cache, .causal(firstPosition: 0), 0..<layer.rows)
      expected = expected ?? bits(result)
      #expect(bits(result) == expected)
      // Scores up to 4 sqrt(width) carry 2^-22 of themselves or less, and weights as much.
      for (value, exact) in zip(result, rounded.reference { $1 <= $0 }) { #expect(abs(Double(value) - exact) < 3e-5) }
      // The last row by itself, as in decoding.
      let alone = try layer.attend(compute, cache, .causal(firstPosition: layer.rows - 1), layer.rows - 1..<layer.rows)
      #expect(bits(alone) == bits(result.suffix(alone.count)))
    }
  }

  /// Two values and what comes back: the larger one has 127 steps.
  private static let roundings: [([Float], [Float])] = [
    ([127, 0.5], [127, 0]), ([127, 1.5], [127, 2]), ([-254, 3.1], [-254, 4]), ([0, 0], [0, 0]),
    ([0x1p-101, 0x1p-102], [0, 0]), ([0x1p-99, 0], [0x1p-99, 0]), ([3e38, 1e30], [3e38, 0]),
  ]

  @Test("int8 rounds to nearest even, in steps of a 127th of the largest", arguments: roundings)
  func steps(_ values: [Float], _ rounded: [Float]) throws {
    // One position has all the weight, so its value is the result.
    let compute = try compute(nil)
    let cache = try KeyValues(heads: 1, headWidth: 2, capacity: 1, precision: .int8)
    try cache.append(keys: [0, 0], keyStride: 2, values: values, valueStride: 2, rows: 1, compute)
    var out: [Float] = [.nan, .nan]
    try compute.attend(
      queries: [0, 0], stride: 2, rows: 1, heads: 1, cache, mask: .full, scale: 1, into: &out, stride: 2,
      scratch: Scratch())
    for (out, rounded) in zip(out, rounded) { #expect(abs(out - rounded) <= 2 * rounded.ulp) }
  }

  @Test("What is not finite shows", arguments: [Float.nan, .infinity, -.infinity])
  func notFinite(_ value: Float) throws {
    let compute = try compute(nil)
    let cache = try KeyValues(heads: 1, headWidth: 2, capacity: 1, precision: .int8)
    try cache.append(keys: [0, 0], keyStride: 2, values: [value, 1], valueStride: 2, rows: 1, compute)
    var out: [Float] = [0, 0]
    try compute.attend(
      queries: [0, 0], stride: 2, rows: 1, heads: 1, cache, mask: .full, scale: 1, into: &out, stride: 2,
      scratch: Scratch())
    #expect(out[0].isNaN)
  }

  @Test("A cache that is cut back forgets what followed")
  func truncation() throws {
    let new = Layer(rows: 37, heads: 2, keyHeads: 2, width: 64, seed: 50)
    let compute = try compute(nil)
    let cache = try KeyValues(heads: 2, headWidth: 64, capacity: 37)
    // NaN would show in every sum it gets into.
    let damaged = [Float](repeating: .nan, count: 37 * 128)
    try cache.append(keys: damaged, keyStride: 128, values: damaged, valueStride: 128, rows: 37, compute)
    cache.truncate(to: 0)
    try cache.append(keys: new.keys, keyStride: 128, values: new.values, valueStride: 128, rows: 21, compute)
    let fresh = try new.cache(positions: 21, compute)
    #expect(
      try bits(new.attend(compute, cache, .full, 0..<37)) == bits(new.attend(compute, fresh, .full, 0..<37)))
  }

  @Test("Shapes that do not fit are refused")
  func refused() throws {
    let layer = Self.layers[2]
    let compute = try compute(nil)
    let cache = try layer.cache(positions: layer.rows, compute)
    let refusal = { (body: () throws -> Void) -> petar_status? in
      do { try body() } catch let error as PetarError { return error.status }
      return nil
    }
    #expect(
      try refusal {
        try cache.append(keys: [0], keyStride: 40, values: [0], valueStride: 40, rows: 1, compute)
      } == PETAR_ERROR_INTERNAL)
    #expect(
      try refusal { _ = try layer.attend(compute, cache, .causal(firstPosition: 1), 0..<layer.rows) }
        == PETAR_ERROR_INTERNAL)
    let odd = Layer(rows: 3, heads: 3, keyHeads: 2, width: 20)
    #expect(try refusal { _ = try odd.attend(compute, cache, .full, 0..<3) } == PETAR_ERROR_INTERNAL)
    #expect(try refusal { _ = try KeyValues(heads: 1, headWidth: 0, capacity: 1) } == PETAR_ERROR_INTERNAL)
  }
}
