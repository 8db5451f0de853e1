import CPetar

/// How the numbers of a matrix are stored.
package enum Encoding: UInt32, Sendable, CaseIterable {
  case f32 = 1
  case f16 = 2
  /// Symmetric int8 (+-127) with an f32 scale for each group of columns in a row, the columns usually rotated.
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
///
/// q8 rows may be rotated: what is stored is W H, with H the orthonormal Walsh-Hadamard transform of blocks of columns,
/// and W x is computed as (W H)(H x) by transforming the activations before they are rounded to int8. Decoders have a
/// few channels of huge activations, which would leave their neighbours in a group almost no steps; H spreads each over
/// its block (QuaRot, arXiv 2404.00456). On SmolLM2-135M, groups of 128, it takes the perplexity lost from 1.7 % to
/// 0.1 %, less than groups of 32 lose without it, which cost 12 % more bytes (`Tests/Fixtures/study_group_size.py`).
package struct MatrixLayout: Sendable, Equatable {
  package static let panelRows = 16

  package let encoding: Encoding
  package let rows: Int
  package let columns: Int
  /// Columns that share a scale (q8), a multiple of 4; 0 for f32 and f16.
  package let groupSize: Int
  /// Columns in a block of the rotation (q8): a power of two, 16 or more; 1 for rows that are not rotated.
  package let rotation: Int

  /// - Throws: `PETAR_ERROR_BAD_FILE` for sizes that are not positive or overflow.
  package init(_ encoding: Encoding, rows: Int, columns: Int, groupSize: Int = 0, rotation: Int = 1) throws {
    let grouped = encoding == .q8
    guard rows > 0, columns > 0, rows <= 1 << 26, columns <= 1 << 26,
      grouped ? (groupSize > 0 && groupSize % 4 == 0 && groupSize <= 1 << 16) : groupSize == 0,
      product(rows + 16, columns + 16, 8) != nil,
      rotation == 1 || (grouped && rotation >= 16 && rotation.nonzeroBitCount == 1 && columns % rotation == 0)
    else {
      throw PetarError(
        PETAR_ERROR_BAD_FILE,
        "a matrix of \(rows) x \(columns) with groups of \(groupSize), rotated by \(rotation), cannot be stored")
    }
    self.encoding = encoding
    self.rows = rows
    self.columns = columns
    self.groupSize = groupSize
    self.rotation = rotation
  }

  /// How files hold a matrix: int8 in groups of 128 columns, rotated as widely as the columns allow. A narrow matrix
  /// has one group, as wide as its columns rounded up to a multiple of 4.
  package init(weights encoding: Encoding, rows: Int, columns: Int) throws {
    let grouped = encoding == .q8
    try self.init(
      encoding, rows: rows, columns: columns,
      groupSize: grouped && columns > 0 ? min(128, (min(columns, 128) + 3) / 4 * 4) : 0,
      rotation: grouped ? Self.widestRotation(columns: columns) : 1)
  }

  /// The widest rotation that fits: the largest power of two that divides `columns`.
  package static func widestRotation(columns: Int) -> Int {
    let block = columns & (0 &- columns)
    return block >= 16 ? block : 1
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
