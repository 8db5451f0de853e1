import CPetar

/// How the numbers of a matrix are stored.
package enum Encoding: UInt32, Sendable, CaseIterable {
  case f32 = 1
  case f16 = 2
  /// Symmetric int8 (+-127) with an f32 scale for each group of columns in a row, the columns usually rotated.
  case q8 = 3
  /// A 4-bit code for each value, a 4-bit multiplier for each 8 columns of a row, a scale for each group of columns.
  case q4 = 4

  /// Whether products are int8 with a scale for each group of columns, which may be rotated.
  package var isInt8: Bool { self == .q8 || self == .q4 }
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
/// - q4: `[group][16]` scales, each the upper half of an f32; then for each 64 columns `[16]` u32 with 4 bits for each 8
///   columns, the lowest first, which stand for a multiplier: 5...12 from three bits, negative if the fourth is set; then
///   for each 8 of these columns `[16][4]` bytes of codes, the low nibbles for the first four columns, the high ones for
///   the others. Columns are filled up with zeros to a multiple of 8. A value is scale * multiplier * level, with the
///   level of its code in `q4Levels`: multiplier * level is at most 120 and the arithmetic that of q8.
///
/// q8 and q4 rows may be rotated: what is stored is W H, with H the orthonormal Walsh-Hadamard transform of blocks of
/// columns, and W x is computed as (W H)(H x) by transforming the activations before they are rounded to int8. Decoders
/// have a few channels of huge activations, which would leave their neighbours in a group almost no steps; H spreads each
/// over its block (QuaRot, arXiv 2404.00456). On SmolLM2-135M, groups of 128, it takes the perplexity lost from 1.5 % to
/// 0.3 %, as much as groups of 32 lose without it, which cost 12 % more bytes. Groups of 256 would lose 0.6 % and spare 2
/// to 4 % of a layer's time (`Tests/Fixtures/study_group_size.py`).
///
/// q4 takes 4.5625 bits for a value where groups are full. Rotated weights are normal numbers, and where these have little
/// room a scale for few columns gains most; multipliers make it cheap and keep products whole. `Tests/Fixtures/study_q4.py`
/// compares it with the forms of llama.cpp, on normal numbers and on all-MiniLM-L6-v2, whose rows of 384 columns take 4.58
/// bits, of 1536 columns 4.56: relative RMS errors of the weights and of the outputs of its linear layers for sentences,
/// their mean and the worst layer, and what embeddings lose. Forms of llama.cpp have f32 activations, ours int8 ones in
/// groups of 256 unless a row says f32.
///
/// |                                            | bits | normal | weights | outputs |  worst | 1 - cosine |
/// |--------------------------------------------|-----:|-------:|--------:|--------:|-------:|-----------:|
/// | Q4_0                                       | 4.5  |  8.6 % |   9.0 % |  7.37 % | 11.1 % |      0.036 |
/// | Q4_K                                       | 4.5  |  7.2 % |   7.4 % |  6.11 % |  9.3 % |      0.029 |
/// | Q4_K, calibrated (importance)              | 4.5  |        |   7.5 % |  5.47 % |  8.3 % |      0.016 |
/// | q4                                         | 4.58 |  5.8 % |   5.8 % |  4.85 % |  6.8 % |      0.017 |
/// | q4, f32                                    | 4.58 |        |   5.8 % |  4.82 % |  6.8 % |      0.017 |
/// | q4, f32, a multiplier for 16 columns       | 4.33 |  6.9 % |   6.9 % |  5.72 % |  8.1 % |      0.020 |
/// | q4, f32, calibrated (importance)           | 4.58 |        |   5.8 % |  4.79 % |  6.8 % |      0.017 |
/// | q4, f32, calibrated (error feedback, GPTQ) | 4.58 |        |   8.0 % |  3.24 % |  5.9 % |      0.004 |
/// | q4, calibrated (error feedback, GPTQ)      | 4.58 |        |   8.0 % |  3.29 % |  5.9 % |      0.004 |
///
/// Importance gains nothing, because H makes all columns alike. Error feedback gains a third and needs no other format,
/// but texts for the model to read while it is converted (`petar-convert --calibrate`). On SmolLM2-135M, whose weights had
/// been rounded to Q4_1 before, q4 loses 12.8 % of perplexity (Q4_0 21 %, Q5_0 7 %), calibrated on 4000 tokens of
/// another author 1.8 %.
package struct MatrixLayout: Sendable, Equatable {
  package static let panelRows = 16

  package let encoding: Encoding
  package let rows: Int
  package let columns: Int
  /// Columns that share a scale: a multiple of 4 (q8) or 64, 256 at most (q4); 0 for f32 and f16.
  package let groupSize: Int
  /// Columns in a block of the rotation (q8, q4): a power of two, 16 or more; 1 for rows that are not rotated.
  package let rotation: Int

  /// - Throws: `PETAR_ERROR_BAD_FILE` for sizes that are not positive or overflow.
  package init(_ encoding: Encoding, rows: Int, columns: Int, groupSize: Int = 0, rotation: Int = 1) throws {
    let groupFits =
      switch encoding {
      case .f32, .f16: groupSize == 0
      case .q8: groupSize > 0 && groupSize % 4 == 0 && groupSize <= 1 << 16
      case .q4: groupSize > 0 && groupSize % 64 == 0 && groupSize <= 256
      }
    guard rows > 0, columns > 0, rows <= 1 << 26, columns <= 1 << 26, groupFits,
      product(rows + 16, columns + 16, 8) != nil,
      rotation == 1 || (encoding.isInt8 && rotation >= 16 && rotation.nonzeroBitCount == 1 && columns % rotation == 0)
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

  /// How files hold a matrix: q8 in groups of 128 columns, q4 of 256, rotated as widely as the columns allow. A narrow
  /// q8 matrix has one group, as wide as its columns rounded up to a multiple of 4.
  package init(weights encoding: Encoding, rows: Int, columns: Int) throws {
    let groupSize =
      switch encoding {
      case .f32, .f16: 0
      case .q8: columns > 0 ? min(128, (min(columns, 128) + 3) / 4 * 4) : 0
      case .q4: 256
      }
    try self.init(
      encoding, rows: rows, columns: columns, groupSize: groupSize,
      rotation: encoding.isInt8 ? Self.widestRotation(columns: columns) : 1)
  }

  /// The widest rotation that fits: the largest power of two that divides `columns`.
  package static func widestRotation(columns: Int) -> Int {
    let block = columns & (0 &- columns)
    return block >= 16 ? block : 1
  }

  package var panels: Int { (rows + 15) / 16 }
  /// Columns rounded up to the four that one int8 dot product takes, or to the eight of a q4 multiplier.
  package var paddedColumns: Int {
    switch encoding {
    case .f32, .f16: columns
    case .q8: roundedUp(columns, to: 4)
    case .q4: roundedUp(columns, to: 8)
    }
  }
  package var groups: Int { encoding.isInt8 ? (columns + groupSize - 1) / groupSize : 0 }

  package var panelBytes: Int {
    switch encoding {
    case .f32: columns * 16 * 4
    case .f16: columns * 16 * 2
    case .q8: paddedColumns * 16 + groups * 64
    case .q4: q4ScaleBytes + roundedUp(paddedColumns, to: 64) + paddedColumns * 8
    }
  }
  /// Bytes of scales at the beginning of a q4 panel.
  var q4ScaleBytes: Int { groups * 32 }
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
