import CKernels
import Glibc
import Petar
import Testing

@Suite("Linear layers") struct LinearTests {
  static let shapes: [(columns: Int, outputs: Int)] = [
    (1, 1), (3, 15), (4, 16), (5, 17), (63, 100), (64, 33), (100, 129), (255, 31), (300, 65), (576, 100),
  ]

  private static func groupSizes(_ encoding: Encoding) -> [Int] {
    switch encoding {
    case .f32, .f16: [0]
    case .q8: [4, 32, 64, 100]
    case .q4: [64, 192, 256]
    }
  }

  @Test("Every instruction set gives the bits of the scalar kernels", arguments: Encoding.allCases, Numbers.allCases)
  func sameBits(_ encoding: Encoding, _ numbers: Numbers) throws {
    for (columns, outputs) in Self.shapes {
      for groupSize in Self.groupSizes(encoding) {
        let x = numbers.make(17 * columns, seed: 1)
        let weights = (numbers == .huge && encoding == .f16 ? .ordinary : numbers).make(outputs * columns, seed: 2)
        let w = try matrix(weights, encoding, rows: outputs, columns: columns, groupSize: groupSize)
        let expected = try compute().linear(x, rows: 17, w)
        #expect(!expected.contains { $0.isNaN })
        for set in instructionSets {
          // Every number of rows from 1 to 17: also says that a row by itself is the row of a batch.
          for rows in 1...17 {
            let result = try compute(set).linear(x, rows: rows, w)
            #expect(bits(result) == bits(expected.prefix(rows * outputs)), "\(set) \(rows) x \(columns) x \(outputs)")
          }
        }
      }
    }
  }

  @Test("Any number of threads and any blocking give the same bits", arguments: Encoding.allCases)
  func sameBitsForThreads(_ encoding: Encoding) throws {
    // Large enough to be cut into several parts in both directions.
    let (rows, columns, outputs) = (130, 1100, 333)
    let x = Numbers.ordinary.make(rows * columns, seed: 3)
    let w = try matrix(
      Numbers.ordinary.make(outputs * columns, seed: 4), encoding, rows: outputs, columns: columns, groupSize: 64)
    let expected = try compute(nil).linear(x, rows: rows, w)
    for threads in [2, 3, 7] {
      let many = try compute(nil, threads: threads)
      #expect(try bits(many.linear(x, rows: rows, w)) == bits(expected))
      for row in [0, 77, 129] {
        let alone = try many.linear(Array(x[row * columns..<(row + 1) * columns]), rows: 1, w)
        #expect(bits(alone) == bits(expected[row * outputs..<(row + 1) * outputs]))
      }
    }
  }

  @Test("Few rows that are left after whole blocks are as exact as others", arguments: [Encoding.q8, .q4])
  func restOfBlocks(_ encoding: Encoding) throws {
    // Blocks of q4 have 384 rows with groups of 256.
    let (rows, columns, outputs) = (386, 256, 48)
    let x = Numbers.ordinary.make(rows * columns, seed: 11)
    let w = try matrix(
      Numbers.ordinary.make(outputs * columns, seed: 12), encoding, rows: outputs, columns: columns, groupSize: 256)
    let expected = try compute().linear(Array(x.suffix(2 * columns)), rows: 2, w)
    for set in instructionSets {
      let result = try compute(set, threads: 2).linear(x, rows: rows, w)
      #expect(bits(result.suffix(2 * outputs)) == bits(expected), "\(set)")
    }
  }

  @Test("What a row goes through first gives the bits of a pass of its own before", arguments: Encoding.allCases)
  func preludes(_ encoding: Encoding) throws {
    let (rows, columns, outputs) = (21, 300, 65)
    let wide = Numbers.ordinary.make(rows * 2 * columns, seed: 5)
    let x = Array(wide.prefix(rows * columns))
    let w = try matrix(
      Numbers.ordinary.make(outputs * columns, seed: 6), encoding, rows: outputs, columns: columns, groupSize: 64)
    let weight = Numbers.ordinary.make(columns, seed: 7)
    let bias = Numbers.ordinary.make(columns, seed: 8)
    for threads in [1, 3] {
      let compute = try compute(nil, threads: threads)
      func expect(_ prelude: RowPrelude, of input: [Float], _ pass: (UnsafeMutablePointer<Float>) -> Void) throws {
        let before = [Float](unsafeUninitializedCapacity: rows * columns) { values, count in
          values.baseAddress.map(pass)
          count = rows * columns
        }
        let expected = try compute.linear(before, rows: rows, w)
        #expect(try bits(compute.linear(input, rows: rows, after: prelude, w)) == bits(expected))
      }
      try weight.withUnsafeBufferPointer { weight in
        try bias.withUnsafeBufferPointer { bias in
          guard let weight = weight.baseAddress, let bias = bias.baseAddress else { return }
          let norm = LayerNormalization(weight: weight, bias: bias, epsilon: 1e-5)
          try expect(.layerNorm(norm), of: x) { compute.layerNorm(x, rows: rows, width: columns, norm, into: $0) }
          try expect(.rmsNorm(weight: weight, epsilon: 1e-5), of: x) {
            compute.rmsNorm(x, rows: rows, width: columns, weight: weight, epsilon: 1e-5, into: $0)
          }
        }
      }
      try expect(.siluGate, of: wide) { compute.siluGate(wide, rows: rows, width: columns, into: $0) }
    }
  }

  @Test("Multiply and add round once, also near ties and near the ends of the range", arguments: instructionSets)
  func fusedMultiplyAdd(_ set: String) throws {
    // Two columns, x = (1, b), w = (c, a): the result is fma(a, b, c).
    var noise = Noise(20)
    let compute = try compute(set)
    let (outputs, rows) = (1600, 60)
    let finite = { () -> Float in
      let value = Float(bitPattern: UInt32(truncatingIfNeeded: noise.bits()))
      return value.isFinite ? value : 1
    }
    // Products of half a unit of the last place of c, give or take very little.
    let nearOne = { (scale: Float) -> Float in
      let exponent = -Int(noise.bits() % 24)
      let offset = noise.bits() % 3 == 0 ? 0 : Float(sign: .plus, exponent: exponent, significand: noise.value())
      return scale * (1 + offset)
    }
    let kinds: [(c: () -> Float, a: () -> Float, b: () -> Float)] = [
      (finite, finite, finite),
      ({ nearOne(1) }, { nearOne(0x1p-12) }, { nearOne(0x1p-12) }),
      ({ nearOne(1) }, { -nearOne(0x1p-12) }, { nearOne(0x1p-13) }),
      ({ nearOne(0x1p-140) }, { nearOne(0x1p-75) }, { nearOne(-0x1p-74) }),
      ({ nearOne(0x1p127) }, { nearOne(0x1p63) }, { nearOne(0x1p63) }),
    ]
    for kind in kinds {
      let weights = (0..<outputs).flatMap { _ -> [Float] in [kind.c(), kind.a()] }
      let x = (0..<rows).flatMap { _ -> [Float] in [1, kind.b()] }
      let result = try compute.linear(x, rows: rows, matrix(weights, .f32, rows: outputs, columns: 2))
      var wrong = 0
      for row in 0..<rows {
        for output in 0..<outputs {
          let (c, a, b) = (weights[output * 2], weights[output * 2 + 1], x[row * 2 + 1])
          // The sum of blocks starts from +0, so -0 becomes +0; == does not tell them apart.
          if result[row * outputs + output] != c.addingProduct(a, b) { wrong += 1 }
        }
      }
      #expect(wrong == 0)
    }
  }

  @Test("f32 and f16 agree with double precision", arguments: [Encoding.f32, .f16])
  func matchesDouble(_ encoding: Encoding) throws {
    for (columns, outputs) in Self.shapes {
      let x = Numbers.ordinary.make(3 * columns, seed: 5)
      let w = try matrix(
        Numbers.ordinary.make(outputs * columns, seed: 6), encoding, rows: outputs, columns: columns)
      let result = try compute().linear(x, rows: 3, w)
      for row in 0..<3 {
        for output in 0..<outputs {
          let weights = try unpacked(w, row: output)
          var (sum, magnitude) = (0.0, 0.0)
          for column in 0..<columns {
            let term = Double(x[row * columns + column]) * Double(weights[column])
            sum += term
            magnitude += abs(term)
          }
          // The bound for a sum that rounds at most 256 times in a block and once for each block.
          let bound = magnitude * Double(min(columns, 256) + columns / 256 + 1) * 0x1p-24
          #expect(abs(Double(result[row * outputs + output]) - sum) <= bound)
        }
      }
    }
  }

  @Test("q8 and q4 are as near as half a step of the activations allows", arguments: [(Encoding.q8, 32), (.q4, 64)])
  func int8MatchesDouble(_ encoding: Encoding, _ groupSize: Int) throws {
    for (columns, outputs) in Self.shapes {
      let x = Numbers.mixed.make(3 * columns, seed: 7)
      let w = try matrix(
        Numbers.ordinary.make(outputs * columns, seed: 8), encoding, rows: outputs, columns: columns,
        groupSize: groupSize)
      let result = try compute().linear(x, rows: 3, w)
      for row in 0..<3 {
        for output in 0..<outputs {
          let weights = try unpacked(w, row: output)
          var (sum, bound) = (0.0, 0.0)
          for first in stride(from: 0, to: columns, by: groupSize) {
            let range = first..<min(first + groupSize, columns)
            let largest = range.map { Double(abs(x[row * columns + $0])) }.max() ?? 0
            for column in range {
              sum += Double(x[row * columns + column]) * Double(weights[column])
              // 0.5001: the product with 127 / max is rounded before it is rounded to a whole number.
              bound += abs(Double(weights[column])) * largest * (0.5001 / 127 + 40 * 0x1p-24)
            }
          }
          #expect(abs(Double(result[row * outputs + output]) - sum) <= bound)
        }
      }
    }
  }

  @Test("q8 is exact for whole numbers", arguments: instructionSets)
  func q8WholeNumbers(_ set: String) throws {
    // With a 127 in every group, scales are 1 and every value is its own int8.
    let (columns, outputs) = (96, 20)
    var noise = Noise(9)
    let whole = { (count: Int) in
      (0..<count).map { $0 % 32 == 0 ? 127 : Float(Int(noise.bits() % 255) - 127) }
    }
    let (x, weights) = (whole(7 * columns), whole(outputs * columns))
    let w = try matrix(weights, .q8, rows: outputs, columns: columns, groupSize: 32)
    let result = try compute(set).linear(x, rows: 7, w)
    for row in 0..<7 {
      for output in 0..<outputs {
        let exact = (0..<columns).reduce(0) { $0 + Int(x[row * columns + $1]) * Int(weights[output * columns + $1]) }
        #expect(result[row * outputs + output] == Float(exact))
      }
    }
  }

  @Test("Sums stay exact with the bytes of a damaged file and the largest group", arguments: instructionSets)
  func q8LargestGroup(_ set: String) throws {
    // A file can hold -128 (byte 0), which the converter never writes.
    let columns = 1 << 16
    let layout = try MatrixLayout(.q8, rows: 16, columns: columns, groupSize: columns)
    let buffer = try Buffer<UInt8>(count: layout.byteCount)
    (UnsafeMutableRawPointer(buffer.base) + columns * 16).initializeMemory(as: Float.self, repeating: 1, count: 16)
    let w = Matrix(layout, bytes: buffer.base, owner: buffer)
    for sign in [Float(1), -1] {
      let result = try compute(set).linear([Float](repeating: 127 * sign, count: columns), rows: 1, w)
      #expect(result == [Float](repeating: Float(-128 * 127 * columns) * sign, count: 16))
    }
  }

  @Test("Bias and epilogues", arguments: Encoding.allCases)
  func epilogues(_ encoding: Encoding) throws {
    let (rows, columns, outputs) = (9, 70, 37)
    let x = Numbers.ordinary.make(rows * columns, seed: 10)
    let bias = Numbers.ordinary.make(outputs, seed: 11)
    let residual = Numbers.ordinary.make(rows * outputs, seed: 12)
    let w = try matrix(Numbers.ordinary.make(outputs * columns, seed: 13), encoding, rows: outputs, columns: columns)
    for set in instructionSets {
      let compute = try compute(set, threads: 2)
      let plain = try compute.linear(x, rows: rows, w)
      let biased = (0..<rows * outputs).map { plain[$0] + bias[$0 % outputs] }
      #expect(try compute.linear(x, rows: rows, w, bias: bias) == biased)
      let added = try compute.linear(x, rows: rows, w, bias: bias, onto: residual, .add)
      #expect(added == zip(residual, biased).map { $0 + $1 })
      var activated = biased
      activated.withUnsafeMutableBufferPointer { values in
        guard let base = values.baseAddress else { return }
        compute.gelu(base, rows: rows, width: outputs)
      }
      #expect(try bits(compute.linear(x, rows: rows, w, bias: bias, .gelu)) == bits(activated))
    }
  }

  @Test(
    "Values that are not finite are passed on, in q8 and q4 too", arguments: [Float.nan, .infinity], Encoding.allCases)
  func notFinite(_ value: Float, _ encoding: Encoding) throws {
    let w = try matrix([Float](repeating: 1, count: 64), encoding, rows: 1, columns: 64)
    for set in instructionSets {
      var x = [Float](repeating: 1, count: 2 * 64)
      x[64 + 40] = value
      let result = try compute(set).linear(x, rows: 2, w)
      // 64 ones in q4: the scale that gives 1 exactly is not among the few that are tried.
      #expect(abs(result[0] - 64) < (encoding == .q4 ? 64 * 0.02 : 1e-4))
      #expect(!result[1].isFinite)
    }
  }

  @Test("A host that flushes denormals to zero gets the same bits and its setting back")
  func hostFloatingPoint() throws {
    let x = Numbers.denormal.make(8 * 64, seed: 14)
    let w = try matrix(Numbers.ordinary.make(100 * 64, seed: 15), .f32, rows: 100, columns: 64)
    let expected = try compute(nil).linear(x, rows: 8, w)
    #expect(expected.contains { $0.isSubnormal })
    #if arch(x86_64)
      let flushing: UInt64 = 0x9fc0  // MXCSR: flush to zero, denormals are zero, exceptions masked
      let compute = try compute(nil, threads: 2)
      let before = pk_float_default()
      pk_float_restore(flushing)
      let result = try compute.linear(x, rows: 8, w)
      let after = pk_float_default() & 0xffc0  // without the sticky exception flags
      pk_float_restore(before)
      #expect(bits(result) == bits(expected))
      #expect(after == flushing)
    #endif
  }

  private func unpacked(_ w: Matrix, row: Int) throws -> [Float] {
    var values = [Float](repeating: .nan, count: w.columns)
    try values.withUnsafeMutableBufferPointer { values in
      if let base = values.baseAddress { try w.unpackRow(row, into: base) }
    }
    return values
  }
}
