import CPetar

/// How the numbers of a matrix are stored.
package enum Encoding: UInt32, Sendable, CaseIterable {
  case f32 = 1
  case f16 = 2
  /// Symmetric int8 (+-127) with an f32 scale for each group of columns in a row.
  case q8 = 3
}

/// How a matrix of `rows` outputs and `columns` inputs lies in memory: the same bytes for every instruction set.
///
/// Rows come in panels of 16, so that one vector holds the same column (f32, f16) or the same four columns (q8) of
/// 16 rows. The last panel is filled up with zero rows.
/// - f32, f16: `[panel][column][16]`.
/// - q8: `[panel][group]` blocks; a block is `[columns / 4][16][4]` bytes that hold value + 128, then `[16]` f32
///   scales. A group has `groupSize` columns, the last one what is left, rounded up to a multiple of 4 with zeros.
///   Offset bytes let the unsigned operand of VPDPBUSD be the weights, so that the correction it needs,
///   128 times the sum of the activations, is known once for each token and costs nothing in the kernel.
package struct MatrixLayout: Sendable, Equatable {
  package static let panelRows = 16

  package let encoding: Encoding
  package let rows: Int
  package let columns: Int
  /// Columns that share a scale (q8), a multiple of 4; 0 for f32 and f16.
  package let groupSize: Int

  /// - Throws: `PETAR_ERROR_BAD_FILE` for sizes that are not positive or overflow.
  package init(_ encoding: Encoding, rows: Int, columns: Int, groupSize: Int = 0) throws {
    let grouped = encoding == .q8
    guard rows > 0, columns > 0, rows <= 1 << 26, columns <= 1 << 26,
      grouped ? (groupSize > 0 && groupSize % 4 == 0 && groupSize <= 1 << 16) : groupSize == 0,
      product(rows + 16, columns + 16, 8) != nil
    else {
      throw PetarError(
        PETAR_ERROR_BAD_FILE, "a matrix of \(rows) x \(columns) with groups of \(groupSize) cannot be stored")
    }
    self.encoding = encoding
    self.rows = rows
    self.columns = columns
    self.groupSize = groupSize
  }

  package var panels: Int { (rows + 15) / 16 }
  /// Columns rounded up to the four that one int8 dot product takes.
  package var paddedColumns: Int { encoding == .q8 ? (columns + 3) / 4 * 4 : columns }
  package var groups: Int { encoding == .q8 ? (columns + groupSize - 1) / groupSize : 0 }

  package var panelBytes: Int {
    switch encoding {
    case .f32: columns * 16 * 4
    case .f16: columns * 16 * 2
    case .q8: paddedColumns * 16 + groups * 64
    }
  }
  package var byteCount: Int { panels * panelBytes }
}

/// A packed matrix in memory that somebody else owns: a mapped file or a buffer.
package struct Matrix: @unchecked Sendable {
  package let layout: MatrixLayout
  /// `layout.byteCount` bytes, aligned to 64.
  package let bytes: UnsafeRawPointer
  private let owner: AnyObject & Sendable

  package init(_ layout: MatrixLayout, bytes: UnsafeRawPointer, owner: AnyObject & Sendable) {
    self.layout = layout
    self.bytes = bytes
    self.owner = owner
  }

  package var rows: Int { layout.rows }
  package var columns: Int { layout.columns }
}
