import CPetar
import Petar
import Testing

@Suite("Packing") struct PackingTests {
  static let shapes = [(1, 1), (15, 3), (16, 4), (17, 5), (33, 100), (40, 65)]

  private func roundTrip(_ values: [Float], _ layout: MatrixLayout) throws -> [Float] {
    let w = try Matrix(packing: values, layout)
    var result = [Float](repeating: .nan, count: values.count)
    try result.withUnsafeMutableBufferPointer { result in
      guard let base = result.baseAddress else { return }
      for row in 0..<layout.rows { try w.unpackRow(row, into: base + row * layout.columns) }
    }
    return result
  }

  @Test("f32 comes back as it was, f16 rounded to nearest even", arguments: shapes)
  func floats(_ rows: Int, _ columns: Int) throws {
    let values = Numbers.mixed.make(rows * columns, seed: 1)
    #expect(try roundTrip(values, MatrixLayout(.f32, rows: rows, columns: columns)) == values)
    let halves = try roundTrip(values, MatrixLayout(.f16, rows: rows, columns: columns))
    #expect(halves == values.map { Float(Float16($0)) })
  }

  @Test("f16 rounding, denormals included")
  func halves() throws {
    // 1 + 2^-11 is half way and goes to the even 1; 2^-24 is the smallest denormal and half of it goes to 0.
    let values: [Float] = [1 + 0x1p-11, 1 + 0x1.8p-10, 0x1p-24, 0x1p-25, 0x1.8p-24, 65504, -65504, -0.0]
    let expected: [Float] = [1, 1 + 0x1p-9, 0x1p-24, 0, 0x1p-23, 65504, -65504, -0.0]
    let result = try roundTrip(values, MatrixLayout(.f16, rows: 1, columns: 8))
    #expect(bits(result) == bits(expected))
  }

  @Test("Every half is widened exactly by every instruction set", arguments: instructionSets)
  func everyHalf(_ set: String) throws {
    // A column of ones picks the weights out: 16 rows of 1 column for each panel.
    let all = (0...UInt16.max).map { Float(Float16(bitPattern: $0)) }.filter(\.isFinite)
    let w = try matrix(all, .f16, rows: all.count, columns: 1)
    #expect(try compute(set).linear([1], rows: 1, w) == all)
  }

  @Test("q8 is within half a step, keeps the largest value and zero", arguments: shapes, [4, 32])
  func int8(_ shape: (Int, Int), _ groupSize: Int) throws {
    let (rows, columns) = shape
    let values = Numbers.mixed.make(rows * columns, seed: 2)
    let result = try roundTrip(values, MatrixLayout(.q8, rows: rows, columns: columns, groupSize: groupSize))
    for row in 0..<rows {
      for first in stride(from: 0, to: columns, by: groupSize) {
        let range = (row * columns + first)..<(row * columns + min(first + groupSize, columns))
        let largest = values[range].map(\.magnitude).max() ?? 0
        for i in range {
          #expect(abs(result[i] - values[i]) <= largest * (0.5001 / 127))
          if values[i] == 0 { #expect(result[i] == 0) }
          if values[i].magnitude == largest { #expect(abs(result[i] - values[i]) <= largest * 0x1p-22) }
        }
      }
    }
  }

  @Test("Rows and columns that fill up a panel are zeros, and no byte stands for -128")
  func padding() throws {
    let layout = try MatrixLayout(.q8, rows: 3, columns: 6, groupSize: 4)
    let w = try Matrix(packing: [Float](repeating: -2, count: 18), layout)
    let bytes = UnsafeRawBufferPointer(start: w.bytes, count: layout.byteCount)
    // Group 0: 4 columns of 16 rows, then scales; group 1: 2 columns and 2 of padding.
    for row in 0..<16 {
      #expect(bytes[row * 4..<row * 4 + 4].allSatisfy { $0 == (row < 3 ? 1 : 128) })
      #expect(bytes[128 + row * 4..<128 + row * 4 + 2].allSatisfy { $0 == (row < 3 ? 1 : 128) })
      #expect(bytes[128 + row * 4 + 2..<128 + row * 4 + 4].allSatisfy { $0 == 128 })
      #expect(bytes.load(fromByteOffset: 64 + row * 4, as: Float.self) == (row < 3 ? 2 / Float(127) : 0))
    }
  }

  @Test("The error that is reported is the error there is", arguments: Encoding.allCases)
  func error(_ encoding: Encoding) throws {
    let values = Numbers.ordinary.make(16 * 64, seed: 3)
    let layout = try matrix(values, encoding, rows: 16, columns: 64).layout
    let buffer = try Buffer<UInt8>(count: layout.panelBytes)
    let error = try layout.packPanel(rows: values, rowStride: 64, rowCount: 16, into: buffer.base)
    let result = try roundTrip(values, layout)
    let squared = zip(values, result).reduce(0.0) { $0 + (Double($1.0) - Double($1.1)) * (Double($1.0) - Double($1.1)) }
    let norm = values.reduce(0.0) { $0 + Double($1) * Double($1) }
    #expect(abs(error.relative - (squared / norm).squareRoot()) < 1e-9)
    // Uniform noise of half a step of 1/127 is 0.23 % of uniform values; of half a step of 1/10 it is 3 %, and a sixteenth
    // of the values in 16 levels is 3.6 % whatever they are.
    switch encoding {
    case .f32: #expect(error.relative == 0)
    case .f16: #expect(error.relative > 1e-5 && error.relative < 5e-4)
    case .q8: #expect(error.relative > 2e-3 && error.relative < 5e-3)
    case .q4: #expect(error.relative > 0.03 && error.relative < 0.06)
    }
  }

  @Test("Weights that cannot be stored are refused")
  func refused() throws {
    let status = { (value: Float, encoding: Encoding) -> petar_status? in
      do {
        _ = try matrix([1, 2, value, 4], encoding, rows: 1, columns: 4)
        return nil
      } catch let error as PetarError {
        return error.status
      }
    }
    for encoding in Encoding.allCases {
      for value in [Float.nan, .infinity, -.infinity] {
        #expect(try status(value, encoding) == PETAR_ERROR_UNSUPPORTED)
      }
    }
    #expect(try status(65505, .f16) == PETAR_ERROR_UNSUPPORTED)
    #expect(try status(65505, .q8) == nil)
    let w = try matrix([1, 2], .f32, rows: 1, columns: 2)
    let target = try Buffer<Float>(count: 2)
    #expect(throws: PetarError.self) { try w.unpackRow(1, into: target.base) }
    #expect(throws: PetarError.self) { try w.unpackRow(-1, into: target.base) }
  }
}
