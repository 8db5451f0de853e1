import CPetar
import Glibc
import Petar
import Testing

@Suite("Attention in int8") struct AttentionInt8Tests {
  /// Queries, keys and values side by side, as a qkv layer leaves them.
  struct Layer: CustomTestStringConvertible, Sendable {
    let rows: Int
    let heads: Int
    let width: Int
    var stride: Int { 3 * heads * width + 5 }
    var testDescription: String { "\(rows) rows, \(heads) heads of \(width)" }

    func numbers(_ numbers: Numbers = .ordinary, seed: UInt64 = 1) -> [Float] {
      numbers.make(rows * stride, seed: seed)
    }

    /// All rows, each seeing all.
    func attend(_ compute: Compute, _ qkv: [Float]) throws -> [Float] {
      let size = heads * width
      var out = [Float](repeating: .nan, count: rows * size)
      try out.withUnsafeMutableBufferPointer { out in
        try qkv.withUnsafeBufferPointer { qkv in
          guard let base = out.baseAddress, let qkv = qkv.baseAddress else { return }
          try compute.attendInt8(
            queries: qkv, keys: qkv + size, values: qkv + 2 * size, stride: stride, rows: rows, heads: heads,
            headWidth: width, scale: 1 / Float(width).squareRoot(), into: base, stride: size, scratch: Scratch())
        }
      }
      return out
    }

    /// The definition, in double precision.
    func reference(_ qkv: [Float]) -> [Double] {
      let size = heads * width
      var out: [Double] = []
      for row in 0..<rows {
        for head in 0..<heads {
          let at = { (row: Int, part: Int, i: Int) in Double(qkv[row * stride + part * size + head * width + i]) }
          let scores = (0..<rows).map { position in
            (0..<width).reduce(0.0) { $0 + at(row, 0, $1) * at(position, 1, $1) } / Double(width).squareRoot()
          }
          let largest = scores.max() ?? 0
          let weights = scores.map { exp($0 - largest) }
          let sum = weights.reduce(0, +)
          for i in 0..<width { out.append((0..<rows).reduce(0.0) { $0 + weights[$1] * at($1, 2, i) } / sum) }
        }
      }
      return out
    }
  }

  static let layers = [
    Layer(rows: 1, heads: 1, width: 2), Layer(rows: 37, heads: 2, width: 64), Layer(rows: 130, heads: 3, width: 20),
    Layer(rows: 129, heads: 1, width: 128), Layer(rows: 400, heads: 1, width: 34),
  ]

  @Test("It agrees with the definition to the steps of int8", arguments: layers)
  func matchesDefinition(_ layer: Layer) throws {
    // Keys and values with a mean, as biases give them.
    let qkv = layer.numbers().enumerated().map { $0.offset % 3 == 0 ? $0.element * 2 : $0.element + 1 }
    let (result, exact) = (try layer.attend(compute(nil, threads: 2), qkv), layer.reference(qkv))
    let error = zip(result, exact).reduce(0.0) { $0 + (Double($1.0) - $1.1) * (Double($1.0) - $1.1) }
    let norm = exact.reduce(0.0) { $0 + $1 * $1 }
    // Half a step of 1/127 at most is 0.23 % of uniform numbers in the mean, for queries, keys and values each.
    #expect((error / norm).squareRoot() < 0.005)
  }

  // Many weights: a difference in their last bits shows in one row of a thousand.
  @Test(
    "Every instruction set and number of threads gives the bits of the scalar kernels",
    arguments: layers + [Layer(rows: 1000, heads: 1, width: 64)])
  func sameBits(_ layer: Layer) throws {
    for numbers in Numbers.allCases {
      let qkv = layer.numbers(numbers)
      let expected = try layer.attend(compute(), qkv)
      for set in instructionSets {
        for threads in [1, 2, 3, 7] {
          let result = try layer.attend(compute(set, threads: threads), qkv)
          // NaN is NaN, whatever its bits: products of huge numbers overflow.
          #expect(zip(result, expected).allSatisfy { $0.bitPattern == $1.bitPattern || ($0.isNaN && $1.isNaN) })
        }
      }
    }
  }

  @Test("A row does not depend on the rows it is computed with")
  func rowsAreIndependent() throws {
    // Two queries change places, which are in different blocks; keys and values stay.
    let layer = Layer(rows: 61, heads: 2, width: 32)
    var qkv = layer.numbers()
    let before = try layer.attend(compute(nil), qkv)
    let size = layer.heads * layer.width
    for i in 0..<size { qkv.swapAt(3 * layer.stride + i, 60 * layer.stride + i) }
    let after = try layer.attend(compute(nil), qkv)
    #expect(bits(before[3 * size..<4 * size]) == bits(after[60 * size..<61 * size]))
    #expect(bits(before[60 * size..<61 * size]) == bits(after[3 * size..<4 * size]))
    #expect(bits(before[4 * size..<60 * size]) == bits(after[4 * size..<60 * size]))
  }

  @Test("Equal values come out as they went in, whatever the weights")
  func weightsSumToOne() throws {
    let layer = Layer(rows: 300, heads: 1, width: 16)
    var qkv = layer.numbers().map { $0 * 20 }  // from one large weight to many small ones
    for row in 0..<layer.rows { for i in 0..<16 { qkv[row * layer.stride + 32 + i] = Float(i) - 8 } }
    for (index, value) in try layer.attend(compute(nil), qkv).enumerated() {
      // Two sums over five blocks, a few products and a quotient: less than 16 roundings, of 8 at most.
      #expect(abs(value - (Float(index % 16) - 8)) <= 16 * 0x1p-24 * 8)
    }
  }

  @Test("Queries of zeros weigh all positions alike", arguments: instructionSets)
  func zeroQueries(_ set: String) throws {
    let layer = Layer(rows: 150, heads: 1, width: 16)
    var qkv = layer.numbers()
    for row in 0..<layer.rows { for i in 0..<16 { qkv[row * layer.stride + i] = 0 } }
    let exact = layer.reference(qkv)
    for (value, exact) in zip(try layer.attend(compute(set), qkv), exact) {
      // 150 roundings of half a step of 1/127 at most, in the mean.
      #expect(abs(Double(value) - exact) < 0.5 / 127)
    }
  }

  @Test("What is not finite makes results that depend on it NaN", arguments: [Float.nan, .infinity], 0..<3)
  func notFinite(_ value: Float, _ part: Int) throws {
    let layer = Layer(rows: 40, heads: 2, width: 16)
    var qkv = layer.numbers()
    qkv[7 * layer.stride + part * 32 + 3] = value
    for set in instructionSets {
      let result = try layer.attend(compute(set), qkv)
      for (index, number) in result.enumerated() {
        let (row, column) = (index / 32, index % 32)
        // A query spoils its row of the first head, a key the first head, a value its channel.
        let spoiled = [row == 7 && column < 16, column < 16, column == 3][part]
        #expect(number.isNaN == spoiled)
      }
    }
  }

  @Test("Shapes that do not fit are refused")
  func refused() throws {
    for layer in [Layer(rows: 2, heads: 0, width: 4), Layer(rows: 2, heads: 1, width: 129)] {
      #expect(throws: PetarError.self) { try layer.attend(compute(nil), [Float](repeating: 0, count: 4096)) }
    }
  }
}
