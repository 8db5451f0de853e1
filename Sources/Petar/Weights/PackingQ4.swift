import CKernels

/// q4 panels (`MatrixLayout`).
extension MatrixLayout {
  /// What the codes 0...15 stand for. Close to even steps, which small groups want, with wider ones at the ends, and not
  /// symmetric: a multiplier's sign turns the side with more room to where the larger values are.
  package static let q4Levels: [Int] = [-9, -7, -5, -4, -3, -2, -1, 0, 1, 2, 3, 4, 5, 6, 7, 10]

  /// Codes and multipliers of 64 columns.
  private static let partBytes = 64 + 8 * 64

  /// Scales, multipliers and codes with the least squared error that a search over 8 scales and all multipliers finds.
  func packQ4Panel(
    rows source: UnsafePointer<Float>, rowStride: Int, rowCount: Int, into target: UnsafeMutableRawPointer
  ) throws -> PackingError {
    target.initializeMemory(as: UInt8.self, repeating: 0, count: panelBytes)
    let rotated = try Buffer<Float>(count: columns)
    let panel = try Buffer<Float>(count: paddedColumns * 16)
    let packed = try Buffer<Float>(count: groupSize * 16)
    panel.elements.update(repeating: 0)
    for row in 0..<rowCount {
      rotated.base.update(from: source + row * rowStride, count: columns)
      rotate(rotated.base)
      for column in 0..<columns { panel.base[column * 16 + row] = rotated.base[column] }
    }
    var error = PackingError()
    for group in 0..<groups {
      let values = panel.base + group * groupSize * 16
      let count = paddedWidth(ofQ4Group: group) * 16
      packed.base.update(from: values, count: count)
      try packQ4Group(group, of: packed.base, into: target)
      for index in 0..<count { error.add(values[index], packed: packed.base[index]) }
    }
    return error
  }

  /// Columns of a group rounded up to the eight that share a multiplier.
  package func paddedWidth(ofQ4Group group: Int) -> Int { min(groupSize, paddedColumns - group * groupSize) }

  /// Packs one group of columns of a panel, rotated already: the scale that suits all of them, then codes and
  /// multipliers of 8 columns after the other.
  /// - Parameters:
  ///   - values: `[column][16]`, `paddedWidth(ofQ4Group:)` columns; they become what was packed.
  ///   - feedback: `[column][column]`: how much of what is lost in the first column the second one, if it comes behind
  ///     the first one's eight, has added to it; nil for plain rounding.
  /// - Throws: `PETAR_ERROR_UNSUPPORTED` for NaN and infinity.
  package func packQ4Group(
    _ group: Int, of values: UnsafeMutablePointer<Float>, feedback: UnsafePointer<Float>? = nil,
    into panel: UnsafeMutableRawPointer
  ) throws {
    let width = paddedWidth(ofQ4Group: group)
    for index in 0..<(width * 16) { try checkFinite(values[index]) }
    pk_kernels_available(0)?.pointee.pack_q4(
      values, width, feedback,
      (panel + q4ScaleBytes + group * groupSize / 64 * Self.partBytes).assumingMemoryBound(to: UInt8.self),
      (panel + group * 32).assumingMemoryBound(to: UInt16.self))
  }

  /// The `columns` values of one of 16 rows, still rotated.
  func unpackQ4Row(_ lane: Int, of panel: UnsafeRawPointer, into target: UnsafeMutablePointer<Float>) {
    Self.q4Levels.withUnsafeBufferPointer { levels in
      for first in stride(from: 0, to: columns, by: 8) {
        let half = panel.load(fromByteOffset: (first / groupSize * 16 + lane) * 2, as: UInt16.self)
        let scale = Float(bitPattern: UInt32(half) << 16)
        let part = panel + q4ScaleBytes + first / 64 * Self.partBytes
        let block = first % 64 / 8
        let index = Int(part.load(fromByteOffset: lane * 4, as: UInt32.self) >> UInt32(block * 4) & 15)
        let multiplier = index < 8 ? index + 5 : 3 - index
        for column in first..<min(first + 8, columns) {
          let byte = part.load(fromByteOffset: 64 + block * 64 + lane * 4 + column % 4, as: UInt8.self)
          let code = column % 8 < 4 ? byte & 15 : byte >> 4
          target[column] = Float(levels[Int(code)] * multiplier) * scale
        }
      }
    }
  }
}
