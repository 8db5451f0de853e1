import CKernels
import CPetar

/// Rows of activations in int8, as the kernels of a q8 or q4 layer read them, in memory of a `Scratch`.
struct QuantizedRows {
  /// Of the layer that they go into.
  let layout: MatrixLayout
  let rows: Int
  private let values: UnsafeMutablePointer<Int8>
  private let scales: UnsafeMutablePointer<Float>
  private let offsets: UnsafeMutablePointer<Int32>
  /// q4, few rows: parts of a row that have an offset of their own.
  private let blocks: Int
  private let blockOffsets: UnsafeMutablePointer<Int32>
  private let ordered: UnsafeMutableRawPointer?
  private let orderedBytes: Int

  /// - Parameter memory: of `bytes` bytes, aligned to 64.
  init(rows: Int, _ layout: MatrixLayout, _ kernels: pk_kernels, at memory: UnsafeMutableRawPointer) {
    self.layout = layout
    self.rows = rows
    orderedBytes = Self.orderedBytes(rows: rows, layout, kernels)
    blocks = Self.blocks(rows: rows, layout)
    ordered = orderedBytes > 0 ? memory : nil
    scales = (memory + rows * layout.groups * orderedBytes).assumingMemoryBound(to: Float.self)
    offsets = UnsafeMutableRawPointer(scales + rows * layout.groups).assumingMemoryBound(to: Int32.self)
    blockOffsets = offsets + rows * layout.groups
    values = UnsafeMutableRawPointer(blockOffsets + rows * blocks).assumingMemoryBound(to: Int8.self)
  }

  /// What `rows` rows take, a multiple of 64.
  /// - Throws: `PETAR_ERROR_OUT_OF_MEMORY` if no memory is that large.
  static func bytes(rows: Int, _ layout: MatrixLayout, _ kernels: pk_kernels) throws -> Int {
    guard let values = product(rows, layout.paddedColumns), let scales = product(rows, layout.groups, 8),
      let blocks = product(rows, blocks(rows: rows, layout), 4),
      let ordered = product(rows, layout.groups, orderedBytes(rows: rows, layout, kernels)),
      max(values, scales, blocks, ordered) < Int.max / 32
    else {
      throw PetarError(
        PETAR_ERROR_OUT_OF_MEMORY, "out of memory: \(rows) rows of \(layout.columns) values are too many")
    }
    return roundedUp(values + scales + blocks + ordered, to: 64)
  }

  private static func orderedBytes(rows: Int, _ layout: MatrixLayout, _ kernels: pk_kernels) -> Int {
    rows > 4 && kernels.order != nil && layout.groupSize <= PK_ORDERED_GROUP ? pk_ordered_bytes(layout.groupSize) : 0
  }

  private static func blocks(rows: Int, _ layout: MatrixLayout) -> Int {
    layout.encoding == .q4 && rows <= PK_Q4_FEW_ROWS ? layout.paddedColumns / 8 : 0
  }

  /// Columns that can be taken by themselves: whole blocks of the rotation and whole groups.
  static func block(_ layout: MatrixLayout) -> Int {
    layout.rotation % layout.groupSize == 0 ? layout.rotation : layout.columns
  }

  /// Rotates columns of a row, as the layer's weights are, and quantizes them.
  /// - Parameters:
  ///   - columns: all of them, or a block.
  ///   - rotated: room for as many floats; may be `source`.
  func take(
    _ columns: Range<Int>, ofRow row: Int, from source: UnsafePointer<Float>,
    rotated: UnsafeMutablePointer<Float>, _ kernels: pk_kernels
  ) {
    var source = source
    if layout.rotation > 1 {
      kernels.hadamard(source, rotated, columns.count, layout.rotation)
      source = UnsafePointer(rotated)
    }
    let group = columns.lowerBound / layout.groupSize
    let (values, scales, offsets) = (
      values + row * layout.paddedColumns + columns.lowerBound, scales + row * layout.groups + group,
      offsets + row * layout.groups + group
    )
    kernels.quantize(source, columns.count, layout.groupSize, values, scales, offsets)
    // The kernel fills up to a multiple of 4.
    let filled = roundedUp(columns.count, to: 4)
    let padded = columns.upperBound == layout.columns ? layout.paddedColumns - columns.lowerBound : columns.count
    (values + filled).update(repeating: 0, count: padded - filled)
    if blocks > 0 { kernels.block_offsets(values, padded / 8, blockOffsets + row * blocks + columns.lowerBound / 8) }
    if let ordered {
      let stride = rows * orderedBytes
      kernels.order(
        values, scales, offsets, padded, layout.groupSize, ordered + row * orderedBytes + group * stride, stride)
    }
  }

  /// Makes the rows from `first` on those that a layer reads.
  func point(_ linear: inout pk_linear, from first: Int = 0) {
    linear.q = UnsafePointer(values + first * layout.paddedColumns)
    linear.q_scales = UnsafePointer(scales + first * layout.groups)
    linear.q_offsets = UnsafePointer(offsets + first * layout.groups)
    linear.q_block_offsets = blocks > 0 ? UnsafePointer(blockOffsets + first * blocks) : nil
    linear.ordered = UnsafeRawPointer(ordered.map { $0 + first * orderedBytes })
    linear.ordered_stride = rows * orderedBytes
    linear.group = layout.groupSize
    linear.groups = layout.groups
  }
}
