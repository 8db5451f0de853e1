import CKernels
import Petar
import Testing

/// The Walsh-Hadamard transform that spreads large activations before they are rounded to int8.
@Suite("Rotation") struct RotationTests {
  private func hadamard(_ set: Int, _ values: [Float], block: Int) -> [Float] {
    var result = values
    pk_kernels_available(set)?.pointee.hadamard(values, &result, values.count, block)
    return result
  }

  /// Entry (i, j) of the matrix is (-1)^(number of bits i and j share) / sqrt(block). Each of its log2(block) sums
  /// rounds by at most 2^-24 of the largest value it can hold.
  @Test("It is the matrix of its definition", arguments: [16, 32, 64, 1024])
  func definition(_ block: Int) {
    let values = Numbers.ordinary.make(2 * block, seed: 1)
    let result = hadamard(0, values, block: block)
    for start in [0, block] {
      for i in 0..<block {
        let sum = (0..<block).reduce(0.0) { sum, j in
          sum + Double(values[start + j]) * ((i & j).nonzeroBitCount % 2 == 0 ? 1 : -1)
        }
        let tolerance = Double(block).squareRoot() * 11 * 0x1p-24
        #expect(abs(Double(result[start + i]) - sum / Double(block).squareRoot()) <= tolerance)
      }
    }
  }

  /// The 2 * 13 sums of the widest round by 2^-25 of values of 0.6 in the mean, each for itself: 1e-7 together, and ten times
  /// that is seen in none of 8192.
  @Test("It is its own inverse", arguments: [16, 128, 8192])
  func inverse(_ block: Int) {
    let values = Numbers.ordinary.make(block, seed: 2)
    let back = hadamard(0, hadamard(0, values, block: block), block: block)
    for (value, expected) in zip(back, values) { #expect(abs(value - expected) <= 1e-6) }
  }

  @Test("Every instruction set gives the same bits", arguments: [16, 32, 64, 128, 256, 512, 8192], Numbers.allCases)
  func sameBits(_ block: Int, _ numbers: Numbers) {
    let values = numbers.make(3 * block, seed: 3)
    let expected = bits(hadamard(0, values, block: block))
    for set in instructionSets.indices { #expect(bits(hadamard(set, values, block: block)) == expected) }
  }

  @Test("The widest rotation is the largest power of two that divides the columns, from 16 on")
  func widest() {
    let widths = [3072, 8192, 768, 576, 1536, 96, 48, 24, 100, 1]
    #expect(widths.map(MatrixLayout.widestRotation) == [1024, 8192, 256, 64, 512, 32, 16, 1, 1, 1])
    #expect(throws: PetarError.self) { try MatrixLayout(.q8, rows: 1, columns: 96, groupSize: 32, rotation: 64) }
    #expect(throws: PetarError.self) { try MatrixLayout(.f32, rows: 1, columns: 64, rotation: 64) }
  }

  /// One activation of 60 among others up to 1: without rotation its group has steps of half of that, and the others are
  /// lost; with it, all 256 share a step of about a twentieth.
  @Test("An outlier costs a rotated product little", arguments: instructionSets)
  func outlier(_ set: String) throws {
    let (columns, outputs) = (256, 33)
    var x = Numbers.ordinary.make(columns, seed: 4)
    x[77] = 60
    var weights = Numbers.ordinary.make(outputs * columns, seed: 5)
    for output in 0..<outputs { weights[output * columns + 77] = 0 }
    let exact = (0..<outputs).map { output in
      (0..<columns).reduce(0.0) { $0 + Double(x[$1]) * Double(weights[output * columns + $1]) }
    }
    func error(rotation: Int) throws -> Double {
      let layout = try MatrixLayout(.q8, rows: outputs, columns: columns, groupSize: 128, rotation: rotation)
      let result = try compute(set).linear(x, rows: 1, Matrix(packing: weights, layout))
      let squares = zip(result, exact).reduce(0.0) {
        $0 + ($1.0.isNaN ? .infinity : (Double($1.0) - $1.1) * (Double($1.0) - $1.1))
      }
      return (squares / Double(outputs)).squareRoot()
    }
    let (plain, rotated) = (try error(rotation: 1), try error(rotation: 256))
    #expect(rotated * 2 < plain, "\(rotated) rotated, \(plain) not")
  }

  @Test("Rows alone, in a batch and over threads give the same bits", arguments: instructionSets, [Encoding.q8, .q4])
  func rows(_ set: String, _ encoding: Encoding) throws {
    let (rows, columns, outputs) = (13, 192, 50)
    let x = Numbers.mixed.make(rows * columns, seed: 6)
    let layout = try MatrixLayout(encoding, rows: outputs, columns: columns, groupSize: 128, rotation: 64)
    let w = try Matrix(packing: Numbers.ordinary.make(outputs * columns, seed: 7), layout)
    let expected = try compute().linear(x, rows: rows, w)
    for threads in [1, 3] {
      #expect(bits(try compute(set, threads: threads).linear(x, rows: rows, w)) == bits(expected))
    }
    for row in 0..<rows {
      let alone = try compute(set).linear(Array(x[(row * columns)..<((row + 1) * columns)]), rows: 1, w)
      #expect(bits(alone) == bits(expected[(row * outputs)..<((row + 1) * outputs)]))
    }
  }

  /// The transform keeps lengths: a row is off by at most half a step of each rotated value.
  @Test("A row comes back from its rotated int8 form")
  func unpacked() throws {
    let columns = 160
    let values = Numbers.ordinary.make(columns, seed: 8)
    let layout = try MatrixLayout(.q8, rows: 1, columns: columns, groupSize: 32, rotation: 32)
    var result = [Float](repeating: .nan, count: columns)
    try Matrix(packing: values, layout).unpackRow(0, into: &result)
    let rotated = hadamard(0, values, block: 32)
    for start in stride(from: 0, to: columns, by: 32) {
      let largest = rotated[start..<(start + 32)].map(\.magnitude).max() ?? 0
      let error = (start..<(start + 32)).reduce(Float(0)) { $0 + (result[$1] - values[$1]) * (result[$1] - values[$1]) }
      #expect(error.squareRoot() <= Float(32).squareRoot() * largest * (0.51 / 127))
    }
  }
}
