import CKernels
import CPetar

/// What happens to the result of a linear layer on its way to memory.
package enum Epilogue: Sendable {
  case store
  /// It is added to what is there: a residual connection.
  case add
  /// GELU is applied to it.
  case gelu

  fileprivate var kernel: pk_epilogue {
    switch self {
    case .store: PK_STORE
    case .add: PK_ADD
    case .gelu: PK_GELU
    }
  }
}

extension Compute {
  /// `out = epilogue(x wᵀ + bias)` for `rows` rows of `w.columns` floats, to rows of `w.rows` floats.
  ///
  /// With a q8 or q4 matrix each row of `x` is quantized to int8 in the matrix's groups of columns; products are summed
  /// exactly in a group and in f32 over the groups. See `pk_linear` for the order of the sums.
  /// - Parameters:
  ///   - prelude: rows of `x` go through it first.
  ///   - bias: `w.rows` floats or nil.
  /// - Throws: `PETAR_ERROR_OUT_OF_MEMORY` if `scratch` cannot grow.
  package func linear(
    _ x: UnsafePointer<Float>, rows: Int, after prelude: RowPrelude? = nil, _ w: Matrix,
    bias: UnsafePointer<Float>? = nil, into out: UnsafeMutablePointer<Float>, _ epilogue: Epilogue = .store,
    scratch: Scratch
  ) throws {
    guard rows > 0 else { return }
    let layout = w.layout
    var linear = pk_linear()
    linear.weights = w.bytes
    linear.panel_bytes = layout.panelBytes
    linear.outputs = layout.rows
    linear.column_end = layout.paddedColumns
    linear.bias = bias
    linear.out = out
    linear.out_stride = layout.rows
    linear.epilogue = epilogue.kernel

    let tiling = Tiling(rows: rows, layout, threads: pool.threads)
    let kernel: @convention(c) (UnsafePointer<pk_linear>?, Int, Int, Int, Int) -> Void
    switch layout.encoding {
    case .f32, .f16:
      linear.x = try prepared(x, rows: rows, width: layout.columns, prelude, in: scratch)
      linear.x_stride = layout.columns
      kernel = layout.encoding == .f32 ? kernels.linear_f32 : kernels.linear_f16
    case .q8, .q4:
      try quantize(x, rows: rows, after: prelude, layout, workspace: tiling.workspaceBytes, in: scratch, for: &linear)
      kernel = layout.encoding == .q8 ? kernels.linear_q8 : kernels.linear_q4
    }

    var tiles = Tiles(linear: linear, kernel: kernel, tiling: tiling)
    pool.run(tiling.count, &tiles) { tiles, index, lane in
      tiles.assumingMemoryBound(to: Tiles.self).pointee.compute(index, lane: lane)
    }
  }

  private struct Tiles {
    var linear: pk_linear
    let kernel: @convention(c) (UnsafePointer<pk_linear>?, Int, Int, Int, Int) -> Void
    let tiling: Tiling

    func compute(_ index: Int, lane: Int) {
      let part = tiling[index]
      var own = linear
      own.workspace = linear.workspace.map { $0 + lane * tiling.workspaceBytes }
      kernel(&own, part.rows.lowerBound, part.rows.upperBound, part.panels.lowerBound, part.panels.upperBound)
    }
  }

  /// The rows of `x`, or what `prelude` makes of them in `scratch`.
  private func prepared(
    _ x: UnsafePointer<Float>, rows: Int, width: Int, _ prelude: RowPrelude?, in scratch: Scratch
  ) throws -> UnsafePointer<Float> {
    guard let prelude else { return x }
    guard let bytes = product(rows, width, 4) else {
      throw PetarError(PETAR_ERROR_OUT_OF_MEMORY, "out of memory: \(rows) rows of \(width) values are too many")
    }
    let results = try scratch.bytes(bytes).assumingMemoryBound(to: Float.self)
    apply(prelude, x, rows: rows, width: width, into: results)
    return UnsafePointer(results)
  }

  /// Quantizes the rows of `x`, after `prelude` and rotated as the weights are, into `scratch` and points `linear` at
  /// the result.
  /// - Parameter workspace: bytes for each lane that the kernel is to have besides, a multiple of 64.
  private func quantize(
    _ x: UnsafePointer<Float>, rows: Int, after prelude: RowPrelude?, _ layout: MatrixLayout, workspace: Int,
    in scratch: Scratch, for linear: inout pk_linear
  ) throws {
    let (width, groups) = (layout.paddedColumns, layout.groups)
    // A row for each lane to prepare and rotate, so that x stays as it is.
    let lanes = layout.rotation > 1 || prelude != nil ? pool.threads : 0
    let blocks = layout.encoding == .q4 && rows <= PK_Q4_FEW_ROWS ? width / 8 : 0
    let isOrdered = rows > 4 && kernels.order != nil && layout.groupSize <= PK_ORDERED_GROUP
    let orderedBytes = isOrdered ? pk_ordered_bytes(layout.groupSize) : 0
    guard let valueBytes = product(rows, width), let scaleBytes = product(rows, groups, 8),
      let blockBytes = product(rows, blocks, 4), let rotatedBytes = product(lanes, width, 4),
      let workspaceBytes = product(workspace, pool.threads),
      let allOrderedBytes = product(rows, groups, orderedBytes),
      max(valueBytes, scaleBytes, blockBytes, rotatedBytes, workspaceBytes, allOrderedBytes) < Int.max / 8
    else {
      throw PetarError(PETAR_ERROR_OUT_OF_MEMORY, "out of memory: \(rows) rows of \(width) values are too many")
    }
    let memory = try scratch.bytes(
      workspaceBytes + allOrderedBytes + rotatedBytes + scaleBytes + blockBytes + valueBytes)
    let ordered = isOrdered ? memory + workspaceBytes : nil
    let rotated = (memory + workspaceBytes + allOrderedBytes).assumingMemoryBound(to: Float.self)
    let scales = rotated + lanes * width
    let offsets = UnsafeMutableRawPointer(scales + rows * groups).assumingMemoryBound(to: Int32.self)
    let blockOffsets = offsets + rows * groups
    let values = UnsafeMutableRawPointer(blockOffsets + rows * blocks).assumingMemoryBound(to: Int8.self)
    var quantizing = Quantizing(
      layout: layout, kernels: kernels, prelude: prelude, x: x, rotated: rotated, values: values, scales: scales,
      offsets: offsets, blocks: blocks, blockOffsets: blockOffsets, ordered: ordered, orderedBytes: orderedBytes,
      orderedStride: rows * orderedBytes)
    overRows(rows, width, &quantizing) { quantizing, row, lane in
      quantizing.assumingMemoryBound(to: Quantizing.self).pointee.compute(row, lane: lane)
    }
    linear.q = UnsafePointer(values)
    linear.q_scales = UnsafePointer(scales)
    linear.q_offsets = UnsafePointer(offsets)
    linear.q_block_offsets = blocks > 0 ? UnsafePointer(blockOffsets) : nil
    linear.ordered = UnsafeRawPointer(ordered)
    linear.ordered_stride = rows * orderedBytes
    linear.workspace = memory
    linear.group = layout.groupSize
    linear.groups = groups
  }

  private struct Quantizing {
    let layout: MatrixLayout
    let kernels: pk_kernels
    let prelude: RowPrelude?
    let x: UnsafePointer<Float>
    let rotated: UnsafeMutablePointer<Float>
    let values: UnsafeMutablePointer<Int8>
    let scales: UnsafeMutablePointer<Float>
    let offsets: UnsafeMutablePointer<Int32>
    /// q4, few rows: parts of a row that have an offset of their own.
    let blocks: Int
    let blockOffsets: UnsafeMutablePointer<Int32>
    let ordered: UnsafeMutableRawPointer?
    let orderedBytes: Int
    /// From a group of a row to its next one.
    let orderedStride: Int

    func compute(_ row: Int, lane: Int) {
      let (width, groups) = (layout.paddedColumns, layout.groups)
      var source = x + row * (prelude?.inputWidth(layout.columns) ?? layout.columns)
      let target = rotated + lane * width
      if let prelude {
        prelude.apply(kernels, source, width: layout.columns, into: target)
        source = UnsafePointer(target)
      }
      if layout.rotation > 1 {
        kernels.hadamard(source, target, layout.columns, layout.rotation)
        source = UnsafePointer(target)
      }
      kernels.quantize(
        source, layout.columns, layout.groupSize, values + row * width, scales + row * groups, offsets + row * groups)
      // The kernel fills up to a multiple of 4.
      let filled = roundedUp(layout.columns, to: 4)
      (values + row * width + filled).update(repeating: 0, count: width - filled)
      if blocks > 0 { kernels.block_offsets(values + row * width, blocks, blockOffsets + row * blocks) }
      if let ordered {
        kernels.order(
          values + row * width, scales + row * groups, offsets + row * groups, width, layout.groupSize,
          ordered + row * orderedBytes, orderedStride)
      }
    }
  }
}

/// How a linear layer is cut into parts for threads and caches: blocks of rows times ranges of panels.
private struct Tiling {
  let count: Int
  /// What the kernel of q4 needs for a part of more than 4 rows: 64 bytes for each row and panel.
  let workspaceBytes: Int
  private let rows: Int
  private let panels: Int
  private let rowBlock: Int
  private let rowBlocks: Int
  private let panelBlock: Int
  private let panelBlocks: Int
  /// Whether the parts that share a block of rows follow each other, or those that share a range of panels.
  private let staysWithRows: Bool

  init(rows: Int, _ layout: MatrixLayout, threads: Int) {
    self.rows = rows
    panels = layout.panels
    if rows <= 4 {
      // Memory is what takes the time: long streams (256 KiB), but eight parts a thread for the end to be even.
      rowBlock = rows
      panelBlock = max(min((1 << 18) / layout.panelBytes, panels / (threads * 8)), (1 << 16) / layout.panelBytes, 1)
    } else {
      // The activations of a block of rows stay in a second-level cache of 512 KiB or more: all columns of them, or one
      // group with q4, whose kernel works group by group. Tiles have 6 or 8 rows.
      let cached = layout.encoding == .q4 ? layout.groupSize * 4 : layout.paddedColumns
      let rowBytes = cached * (layout.encoding.isInt8 ? 1 : 4)
      rowBlock = min(max((384 << 10) / rowBytes / 24, 1) * 24, rows)
      // At least four parts a thread, unless parts get smaller than a thread is worth.
      let work = rowBlock * layout.paddedColumns * 16
      let fair = panels * ((rows + rowBlock - 1) / rowBlock) / (threads * 4)
      panelBlock = max(roundedUp(min(fair, 8), to: 4), (1 << 17) / work, 4)
    }
    rowBlocks = (rows + rowBlock - 1) / rowBlock
    workspaceBytes = layout.encoding == .q4 && rows > 4 ? rowBlock * min(panelBlock, panels) * 64 : 0
    panelBlocks = (panels + panelBlock - 1) / panelBlock
    count = rowBlocks * panelBlocks
    // Whichever brings fewer bytes into a second-level cache: all weights for each block of rows, as in a tower, or all
    // activations for each range of panels, as in a prefill. A tower's layers of 3072 columns take 3 % less time so.
    let activationBytes = rows * layout.paddedColumns * (layout.encoding.isInt8 ? 1 : 4)
    staysWithRows = layout.byteCount / panelBlocks < activationBytes / rowBlocks
  }

  subscript(index: Int) -> (rows: Range<Int>, panels: Range<Int>) {
    let row = (staysWithRows ? index / panelBlocks : index % rowBlocks) * rowBlock
    let panel = (staysWithRows ? index % panelBlocks : index / rowBlocks) * panelBlock
    return (row..<min(row + rowBlock, rows), panel..<min(panel + panelBlock, panels))
  }
}
