import Petar
import Testing

/// The 4-bit form, read here as `MatrixLayout` describes it and not as the library reads it.
@Suite("q4") struct Q4Tests {
  static let levels = [-9, -7, -5, -4, -3, -2, -1, 0, 1, 2, 3, 4, 5, 6, 7, 10]
  static let multipliers = (5...12).map { $0 } + (5...12).map { -$0 }

  /// One value of a panel: its scale, the multiplier and the level.
  private func value(
    _ w: Matrix, row: Int, column: Int
  ) -> (scale: Float, multiplier: Int, level: Int) {
    let layout = w.layout
    let (groups, lane) = ((layout.columns + layout.groupSize - 1) / layout.groupSize, row % 16)
    let padded = (layout.columns + 7) / 8 * 8
    let panelBytes = groups * 32 + (padded + 63) / 64 * 64 + padded * 8
    let panel = w.bytes + row / 16 * panelBytes
    let scale = panel.load(fromByteOffset: column / layout.groupSize * 32 + lane * 2, as: UInt16.self)
    // Multipliers of 64 columns, then 8 vectors of codes.
    let part = panel + groups * 32 + column / 64 * 576
    let word = part.load(fromByteOffset: lane * 4, as: UInt32.self)
    let multiplier = Self.multipliers[Int(word >> UInt32(column % 64 / 8 * 4)) & 15]
    let codes = part.load(fromByteOffset: 64 + column % 64 / 8 * 64 + lane * 4 + column % 4, as: UInt8.self)
    let code = column % 8 < 4 ? codes & 15 : codes >> 4
    return (Float(bitPattern: UInt32(scale) << 16), multiplier, Self.levels[Int(code)])
  }

  private func unpacked(_ w: Matrix, row: Int) throws -> [Float] {
    var values = [Float](repeating: .nan, count: w.columns)
    try w.unpackRow(row, into: &values)
    return values
  }

  /// Close to normal: the sum of 12 uniform numbers.
  private func normal(_ count: Int, seed: UInt64) -> [Float] {
    let uniform = Numbers.ordinary.make(12 * count, seed: seed)
    return (0..<count).map { index in uniform[(index * 12)..<(index * 12 + 12)].reduce(0, +) / 2 }
  }

  @Test("A weight takes 4.6 bits at most, 4.5625 where groups are full", arguments: [384, 576, 768, 1536, 3072, 8192])
  func bits(_ columns: Int) throws {
    let layout = try MatrixLayout(weights: .q4, rows: 16, columns: columns)
    let bits = Double(layout.byteCount) * 8 / Double(16 * columns)
    #expect(bits <= 4.6)
    if columns % 256 == 0 { #expect(bits == 4.5625) }
  }

  @Test(
    "A row comes back as the bytes say", arguments: PackingTests.shapes + [(16, 64), (5, 129), (35, 576)], [64, 256])
  func roundTrip(_ shape: (Int, Int), _ groupSize: Int) throws {
    let (rows, columns) = shape
    let w = try matrix(
      Numbers.mixed.make(rows * columns, seed: 1), .q4, rows: rows, columns: columns, groupSize: groupSize)
    for row in 0..<rows {
      let values = try unpacked(w, row: row)
      for column in 0..<columns {
        let (scale, multiplier, level) = value(w, row: row, column: column)
        #expect(values[column] == Float(multiplier * level) * scale)
      }
    }
  }

  /// No other multiplier and levels would be nearer with the scale that was chosen.
  @Test("Codes and multipliers are the best there are")
  func best() throws {
    let (rows, columns) = (18, 136)
    let values = normal(rows * columns, seed: 2)
    let w = try matrix(values, .q4, rows: rows, columns: columns, groupSize: 128)
    for row in 0..<rows {
      for first in stride(from: 0, to: columns, by: 8) {
        let scale = Double(value(w, row: row, column: first).scale)
        let block = values[(row * columns + first)..<(row * columns + first + 8)].map(Double.init)
        let least = Self.multipliers.map { multiplier in
          block.reduce(0.0) { sum, weight in
            sum + (Self.levels.map { (weight - scale * Double($0 * multiplier)).magnitude }.min() ?? 0).squared
          }
        }.min()
        let packed = try unpacked(w, row: row)[first..<(first + 8)].map(Double.init)
        let error = zip(block, packed).reduce(0.0) { $0 + ($1.0 - $1.1).squared }
        // Errors are compared in f32, in units of the scale: about 1e-6 of their sum.
        #expect(error <= (least ?? 0) * (1 + 1e-5))
      }
    }
  }

  /// 5.81 % is what `Tests/Fixtures/study_q4.py` finds for normal weights; Q4_K has 7.15 % at 4.5 bits, Q4_0 8.6 %.
  @Test("Normal weights lose less than 6 %")
  func error() throws {
    let (rows, columns) = (64, 512)
    let values = normal(rows * columns, seed: 3)
    let w = try matrix(values, .q4, rows: rows, columns: columns, groupSize: 256)
    var (error, norm) = (0.0, 0.0)
    for row in 0..<rows {
      let packed = try unpacked(w, row: row)
      for column in 0..<columns {
        let weight = Double(values[row * columns + column])
        error += (weight - Double(packed[column])).squared
        norm += weight.squared
      }
    }
    #expect((error / norm).squareRoot() < 0.06)
  }

  @Test("Weights of any size lose the same", arguments: [Float(0x1p-90), 0x1p-20, 0x1p20, 0x1p100])
  func anySize(_ factor: Float) throws {
    let (rows, columns) = (16, 128)
    let values = normal(rows * columns, seed: 4)
    let w = try matrix(values, .q4, rows: rows, columns: columns, groupSize: 128)
    let scaled = try matrix(values.map { $0 * factor }, .q4, rows: rows, columns: columns, groupSize: 128)
    for row in 0..<rows {
      let (expected, packed) = (try unpacked(w, row: row), try unpacked(scaled, row: row))
      #expect(packed == expected.map { $0 * factor })
    }
  }

  @Test("Zeros stay zeros, and so does what is smaller than 2^-100")
  func zeros() throws {
    for value in [Float(0), 0x1p-101] {
      let w = try matrix([Float](repeating: value, count: 100), .q4, rows: 2, columns: 50, groupSize: 64)
      for row in 0..<2 {
        let values = try unpacked(w, row: row)
        #expect(values.allSatisfy { $0 == 0 })
      }
    }
  }

  /// Bytes of a damaged file among them: whatever they are they stand for whole numbers.
  @Test("Any bytes give exact sums", arguments: instructionSets, [(40, 20, 64), (200, 33, 64), (576, 70, 256)])
  func exact(_ set: String, _ shape: (columns: Int, outputs: Int, groupSize: Int)) throws {
    let (columns, outputs, groupSize) = shape
    let layout = try MatrixLayout(.q4, rows: outputs, columns: columns, groupSize: groupSize)
    let buffer = try Buffer<UInt8>(count: layout.byteCount)
    var noise = Noise(5)
    for index in 0..<layout.byteCount { buffer.base[index] = UInt8(truncatingIfNeeded: noise.bits()) }
    for panel in 0..<layout.panels {
      // Scales of 1 are 3f80 in the upper half.
      let scales = UnsafeMutableRawPointer(buffer.base) + panel * layout.panelBytes
      for index in 0..<(layout.groups * 16) {
        scales.storeBytes(of: 0x3f80, toByteOffset: index * 2, as: UInt16.self)
      }
    }
    let w = Matrix(layout, bytes: buffer.base, owner: buffer)
    // With a 127 in every group, activations are their own int8.
    let x = (0..<17 * columns).map { $0 % columns % groupSize == 0 ? 127 : Float(Int(noise.bits() % 255) - 127) }
    let weights = (0..<outputs).map { row in
      (0..<columns).map { column in
        let (_, multiplier, level) = value(w, row: row, column: column)
        return multiplier * level
      }
    }
    let expected = (0..<17).flatMap { row in
      (0..<outputs).map { output in
        Float((0..<columns).reduce(0) { $0 + Int(x[row * columns + $1]) * weights[output][$1] })
      }
    }
    // Up to 4 rows, 8 with AVX-512, and more are computed in two ways; scales of 127 / 127 are 1.
    for rows in [1, 2, 3, 4, 5, 6, 7, 8, 9, 11, 17] {
      #expect(try compute(set).linear(x, rows: rows, w) == Array(expected.prefix(rows * outputs)))
    }
  }
}

extension Double {
  fileprivate var squared: Double { self * self }
}
