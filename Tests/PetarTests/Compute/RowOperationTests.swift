import Glibc
import Petar
import Testing

@Suite("Operations on rows") struct RowOperationTests {
  static let widths = [1, 3, 15, 16, 17, 64, 100, 768]

  /// `body` over a copy of `values`.
  private func changed(_ values: [Float], _ body: (UnsafeMutablePointer<Float>) throws -> Void) rethrows -> [Float] {
    var result = values
    try result.withUnsafeMutableBufferPointer { if let base = $0.baseAddress { try body(base) } }
    return result
  }

  /// Everything at once, for comparing instruction sets and threads.
  private func all(_ compute: Compute, _ numbers: Numbers, rows: Int, width: Int) -> [UInt32] {
    let x = numbers.make(rows * width, seed: 1)
    let y = Numbers.ordinary.make(rows * width, seed: 2)
    let gates = numbers.make(rows * width * 2, seed: 3)
    let angles = (0..<rows * (width / 2)).map { Float($0) }
    let (cosines, sines) = (angles.map { cosf($0) }, angles.map { sinf($0) })
    var results: [Float] = []
    results += changed(x) {
      compute.layerNorm(
        $0, rows: rows, width: width, LayerNormalization(weight: y, bias: x, epsilon: 1e-5), into: $0)
    }
    results += changed(x) { compute.rmsNorm($0, rows: rows, width: width, weight: y, epsilon: 1e-5, into: $0) }
    results += changed(x) { compute.siluGate(gates, rows: rows, width: width, into: $0) }
    results += changed(x) { compute.gelu($0, rows: rows, width: width) }
    results += changed(x) { compute.add($0, y, rows: rows, width: width) }
    results += changed(x) {
      for row in 0..<rows {
        compute.kernels.rope(
          $0 + row * width, width / 2, Array(cosines[(row * (width / 2))...]), Array(sines[(row * (width / 2))...]))
      }
    }
    return bits(results)
  }

  @Test("Every instruction set gives the bits of the scalar kernels", arguments: widths, Numbers.allCases)
  func sameBits(_ width: Int, _ numbers: Numbers) throws {
    let expected = all(try compute(), numbers, rows: 3, width: width)
    for set in instructionSets {
      let result = all(try compute(set), numbers, rows: 3, width: width)
      // NaN is NaN, whatever its bits: squares of huge numbers may overflow.
      let equal = zip(result, expected).allSatisfy {
        $0 == $1 || (Float(bitPattern: $0).isNaN && Float(bitPattern: $1).isNaN)
      }
      #expect(equal, "\(set) \(width)")
    }
  }

  @Test("Any number of threads gives the same bits")
  func threads() throws {
    let expected = all(try compute(nil), .ordinary, rows: 70, width: 768)
    for threads in [2, 3, 7] {
      #expect(all(try compute(nil, threads: threads), .ordinary, rows: 70, width: 768) == expected)
    }
  }

  @Test("Norms agree with double precision", arguments: widths)
  func norms(_ width: Int) throws {
    let rows = 2
    // A mean well away from zero, as the residual stream has.
    let x = Numbers.ordinary.make(rows * width, seed: 4).map { $0 * 3 + 5 }
    let (weight, bias) = (Numbers.ordinary.make(width, seed: 5), Numbers.ordinary.make(width, seed: 6))
    let compute = try compute()
    let layer = changed(x) {
      compute.layerNorm(
        x, rows: rows, width: width, LayerNormalization(weight: weight, bias: bias, epsilon: 1e-5), into: $0)
    }
    let rms = changed(x) { compute.rmsNorm(x, rows: rows, width: width, weight: weight, epsilon: 1e-5, into: $0) }
    for row in 0..<rows {
      let values = x[row * width..<(row + 1) * width].map { Double($0) }
      let mean = values.reduce(0, +) / Double(width)
      let variance = values.reduce(0) { $0 + ($1 - mean) * ($1 - mean) } / Double(width)
      let square = values.reduce(0) { $0 + $1 * $1 } / Double(width)
      for i in 0..<width {
        let scale = 1 / (variance + 1e-5).squareRoot()
        let expected = (values[i] - mean) * scale * Double(weight[i]) + Double(bias[i])
        // The mean is rounded to 2^-24 of 5 or so a few times, and scaled like the values; width 1 has no spread.
        let tolerance = 8 * 0x1p-24 * (8 * scale + 2)
        #expect(abs(Double(layer[row * width + i]) - expected) <= tolerance)
        let expectedRMS = values[i] / (square + 1e-5).squareRoot() * Double(weight[i])
        #expect(abs(Double(rms[row * width + i]) - expectedRMS) <= 1e-6 * abs(expectedRMS))
      }
    }
  }

  /// -104...104 in small steps, and magnitudes down to 1e-30.
  static let arguments: [Float] =
    (-104_000...104_000).map { Float($0) / 1000 }
    + (1...300).flatMap { [powf(10, -Float($0) / 10), -powf(10, -Float($0) / 10)] }

  @Test("GELU is within 4e-7 of x/2 erfc(-x / sqrt 2), and 2e-8 beside it, as 1 + erf in f32 would not be")
  func gelu() throws {
    let result = changed(Self.arguments) { try? compute(nil).gelu($0, rows: 1, width: Self.arguments.count) }
    for (x, y) in zip(Self.arguments, result) {
      let exact = Double(x) / 2 * erfc(-Double(x) / 2.0.squareRoot())
      #expect(abs(Double(y) - exact) <= 4e-7 * abs(exact) + (x < -1 ? 2e-8 : 0), "\(x)")
    }
  }

  @Test("SiLU is within 3e-7 of x / (1 + e^-x)")
  func silu() throws {
    let gates = Self.arguments + [Float](repeating: 1, count: Self.arguments.count)
    let result = changed(Self.arguments) {
      try? compute(nil).siluGate(gates, rows: 1, width: Self.arguments.count, into: $0)
    }
    for (x, y) in zip(Self.arguments, result) {
      let exact = Double(x) / (1 + exp(-Double(x)))
      // Below -88 e^-x is infinite in f32, and x e^x (1e-36) becomes zero.
      #expect(abs(Double(y) - exact) <= 3e-7 * abs(exact) + (x < -88 ? 1e-36 : 0), "\(x)")
    }
  }

  @Test("Large and infinite arguments", arguments: instructionSets)
  func largeArguments(_ set: String) throws {
    let x: [Float] = [1e30, -1e30, .infinity, 3e38, -3e38, 0, -0.0, .nan]
    let compute = try compute(set)
    let gelu = changed(x) { compute.gelu($0, rows: 1, width: x.count) }
    #expect(gelu.dropLast() == [1e30, 0, .infinity, 3e38, 0, 0, 0])
    #expect(gelu[7].isNaN)
    let silu = changed(x) {
      compute.siluGate(x + [Float](repeating: 1, count: x.count), rows: 1, width: x.count, into: $0)
    }
    #expect(silu.dropLast() == [1e30, 0, .infinity, 3e38, 0, 0, 0])
    #expect(silu[7].isNaN)
  }

  @Test("RoPE turns pairs of halves and leaves what is behind them alone")
  func rope() throws {
    let x = Numbers.ordinary.make(13, seed: 7)
    let angles = Numbers.ordinary.make(5, seed: 8).map { Double($0) * 3 }
    let kernels = try compute().kernels
    let result = changed(x) { kernels.rope($0, 5, angles.map { Float(cos($0)) }, angles.map { Float(sin($0)) }) }
    for (i, angle) in angles.enumerated() {
      let (a, b) = (Double(x[i]), Double(x[i + 5]))
      #expect(abs(Double(result[i]) - (a * cos(angle) - b * sin(angle))) < 3e-7)
      #expect(abs(Double(result[i + 5]) - (b * cos(angle) + a * sin(angle))) < 3e-7)
    }
    #expect(result[10...] == x[10...])
  }
}
