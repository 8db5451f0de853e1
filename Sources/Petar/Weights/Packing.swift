import CKernels
import CPetar

/// How far packed weights are from the ones they were made of.
package struct PackingError: Sendable {
  package var squaredError = 0.0
  package var squaredNorm = 0.0

  package init() {}

  /// `||w - packed|| / ||w||`; 0 for a matrix of zeros.
  package var relative: Double { squaredNorm > 0 ? (squaredError / squaredNorm).squareRoot() : 0 }

  package static func += (left: inout PackingError, right: PackingError) {
    left.squaredError += right.squaredError
    left.squaredNorm += right.squaredNorm
  }

  mutating func add(_ value: Float, packed: Float) {
    let difference = Double(value) - Double(packed)
    squaredError += difference * difference
    squaredNorm += Double(value) * Double(value)
  }
}

extension MatrixLayout {
  /// Packs 16 rows, or the fewer that are left of the last panel, into `panelBytes` bytes.
  ///
  /// f16 is rounded to nearest even. q8 and q4: rows are rotated first, and a group of a row without a magnitude of
  /// 2^-100 is zero. q8: for each row and group scale = max|w| / 127, value = w / scale rounded to nearest even.
  /// - Parameters:
  ///   - rowStride: floats from one row to the next, at least `columns`.
  ///   - rowCount: 1...16.
  /// - Throws: `PETAR_ERROR_UNSUPPORTED` for NaN, infinity and, in f16, magnitudes above 65504.
  @discardableResult
  package func packPanel(
    rows source: UnsafePointer<Float>, rowStride: Int, rowCount: Int, into target: UnsafeMutableRawPointer
  ) throws -> PackingError {
    guard rowCount > 0, rowCount <= Self.panelRows, rowStride >= columns else {
      throw PetarError(PETAR_ERROR_INTERNAL, "a panel of \(rowCount) rows, \(rowStride) apart, cannot be packed")
    }
    var error = PackingError()
    switch encoding {
    case .f32:
      target.initializeMemory(as: UInt8.self, repeating: 0, count: panelBytes)
      for row in 0..<rowCount {
        for column in 0..<columns {
          let value = source[row * rowStride + column]
          try checkFinite(value)
          target.storeBytes(of: value, toByteOffset: (column * 16 + row) * 4, as: Float.self)
          error.add(value, packed: value)
        }
      }
    case .f16:
      target.initializeMemory(as: UInt8.self, repeating: 0, count: panelBytes)
      for row in 0..<rowCount {
        for column in 0..<columns {
          let value = source[row * rowStride + column]
          try checkFinite(value)
          guard value.magnitude <= 65504 else {
            throw PetarError(
              PETAR_ERROR_UNSUPPORTED, "a weight of \(value) in column \(column) is too large for f16; use f32 or q8")
          }
          let half = Float16(value)
          target.storeBytes(of: half.bitPattern, toByteOffset: (column * 16 + row) * 2, as: UInt16.self)
          error.add(value, packed: Float(half))
        }
      }
    case .q8:
      target.initializeMemory(as: UInt8.self, repeating: 128, count: panelBytes)
      for group in 0..<groups {
        (target + block(group).scales).initializeMemory(as: UInt8.self, repeating: 0, count: 64)
      }
      let rotated = try Buffer<Float>(count: columns)
      for row in 0..<rowCount {
        rotated.base.update(from: source + row * rowStride, count: columns)
        rotate(rotated.base)
        for group in 0..<groups {
          let block = self.block(group)
          error += try quantize(
            rotated.base + group * groupSize, min(groupSize, columns - group * groupSize),
            into: (target + block.values + row * 4).assumingMemoryBound(to: UInt8.self),
            scale: (target + block.scales).assumingMemoryBound(to: Float.self) + row)
        }
      }
    case .q4:
      error = try packQ4Panel(rows: source, rowStride: rowStride, rowCount: rowCount, into: target)
    }
    return error
  }

  /// Rotates a row in place, or back: the transform is its own inverse.
  package func rotate(_ row: UnsafeMutablePointer<Float>) {
    if rotation > 1 { pk_kernels_available(0)?.pointee.hadamard(row, row, columns, rotation) }
  }

  /// One group of one row: value c goes to byte `c / 4 * 64 + c % 4`.
  private func quantize(
    _ source: UnsafePointer<Float>, _ count: Int, into bytes: UnsafeMutablePointer<UInt8>,
    scale: UnsafeMutablePointer<Float>
  ) throws -> PackingError {
    // As integers, magnitudes order like numbers, with infinity and NaN above all.
    var largest: UInt32 = 0
    for column in 0..<count { largest = max(largest, source[column].bitPattern & 0x7fff_ffff) }
    let maximum = Float(bitPattern: largest)
    try checkFinite(maximum)
    let inverse = maximum >= 0x1p-100 ? 127 / maximum : 0
    scale.pointee = inverse > 0 ? maximum / 127 : 0

    var error = PackingError()
    for column in 0..<count {
      // Adding 1.5 * 2^23 rounds to a whole number and leaves it in the low bits.
      let shifted = source[column] * inverse + 0x1.8p23
      bytes[column / 4 * 64 + column % 4] = UInt8(truncatingIfNeeded: shifted.bitPattern) &+ 128
      error.add(source[column], packed: (shifted - 0x1.8p23) * scale.pointee)
    }
    return error
  }

  func checkFinite(_ value: Float) throws {
    guard value.isFinite else {
      throw PetarError(PETAR_ERROR_UNSUPPORTED, "a weight is \(value), not a number to compute with")
    }
  }

  /// Where the values and the scales of a q8 group lie in a panel.
  fileprivate func block(_ group: Int) -> (values: Int, scales: Int) {
    let values = group * (groupSize * 16 + 64)
    let columns = min(groupSize, paddedColumns - group * groupSize)
    return (values, values + columns * 16)
  }
}

extension Matrix {
  /// Packs `layout.rows` rows of `layout.columns` floats, one behind the other, into memory of its own.
  package init(packing source: UnsafePointer<Float>, _ layout: MatrixLayout) throws {
    let buffer = try Buffer<UInt8>(count: layout.byteCount)
    for panel in 0..<layout.panels {
      try layout.packPanel(
        rows: source + panel * 16 * layout.columns, rowStride: layout.columns,
        rowCount: min(16, layout.rows - panel * 16),
        into: UnsafeMutableRawPointer(buffer.base) + panel * layout.panelBytes)
    }
    self.init(layout, bytes: UnsafeRawPointer(buffer.base), owner: buffer)
  }

  /// Writes the `columns` values of a row as f32: what an embedding looks up.
  /// - Throws: `PETAR_ERROR_INTERNAL` for a row that is not there.
  package func unpackRow(_ row: Int, into target: UnsafeMutablePointer<Float>) throws {
    guard row >= 0, row < rows else {
      throw PetarError(PETAR_ERROR_INTERNAL, "row \(row) of a matrix of \(rows) rows was asked for")
    }
    let panel = bytes + row / 16 * layout.panelBytes
    let lane = row % 16
    switch layout.encoding {
    case .f32:
      for column in 0..<columns {
        target[column] = panel.load(fromByteOffset: (column * 16 + lane) * 4, as: Float.self)
      }
    case .f16:
      for column in 0..<columns {
        let bits = panel.load(fromByteOffset: (column * 16 + lane) * 2, as: UInt16.self)
        target[column] = Float(Float16(bitPattern: bits))
      }
    case .q8:
      for group in 0..<layout.groups {
        let block = layout.block(group)
        let scale = panel.load(fromByteOffset: block.scales + lane * 4, as: Float.self)
        let first = group * layout.groupSize
        for column in first..<min(first + layout.groupSize, columns) {
          let at = column - first
          let value = panel.load(fromByteOffset: block.values + at / 4 * 64 + lane * 4 + at % 4, as: UInt8.self)
          target[column] = Float(Int(value) - 128) * scale
        }
      }
      layout.rotate(target)
    case .q4:
      layout.unpackQ4Row(lane, of: panel, into: target)
      layout.rotate(target)
    }
  }
}
