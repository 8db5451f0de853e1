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
    let tiling = Tiling(rows: rows, layout, threads: pool.threads)
    var linear = pk_linear(w, bias: bias, into: out, epilogue)
    switch layout.encoding {
    case .f32, .f16:
      linear.x = try prepared(x, rows: rows, width: layout.columns, prelude, in: scratch)
      linear.x_stride = layout.columns
    case .q8, .q4:
      let rowBytes = try QuantizedRows.bytes(rows: rows, layout, kernels)
      let memory = try LaneMemory(
        threads: pool.threads, floats: quantizingFloats(layout, prelude), workspace: tiling.workspaceBytes,
        behind: rowBytes, in: scratch)
      let quantized = QuantizedRows(rows: rows, layout, kernels, at: memory.rest)
      quantize(x, after: prelude, into: quantized, memory)
      quantized.point(&linear)
      linear.workspace = memory.workspace
    }
    run(linear, layout.encoding, tiling)
  }

  /// All parts of a layer.
  func run(_ linear: pk_linear, _ encoding: Encoding, _ tiling: Tiling) {
    var tiles = Tiles(linear: linear, kernel: kernels.linear(encoding), tiling: tiling)
    pool.run(tiling.count, &tiles) { tiles, index, lane in
      tiles.assumingMemoryBound(to: Tiles.self).pointee.compute(index, lane: lane)
    }
  }

  private struct Tiles {
    var linear: pk_linear
    let kernel: LinearKernel
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

  // ---- Rows in int8 -------------------------------------------------------------------------------------------------

  /// Floats that a lane needs while it quantizes rows: to prepare and rotate one, so that x stays as it is.
  func quantizingFloats(_ layout: MatrixLayout, _ prelude: RowPrelude?) -> Int {
    layout.rotation > 1 || prelude != nil ? layout.paddedColumns : 0
  }

  /// Quantizes rows of `x`, after `prelude`.
  func quantize(
    _ x: UnsafePointer<Float>, after prelude: RowPrelude?, into quantized: QuantizedRows, _ memory: LaneMemory
  ) {
    var quantizing = Quantizing(kernels: kernels, prelude: prelude, x: x, quantized: quantized, memory: memory)
    overRows(quantized.rows, quantized.layout.paddedColumns, &quantizing) { quantizing, row, lane in
      quantizing.assumingMemoryBound(to: Quantizing.self).pointee.compute(row, lane: lane)
    }
  }

  private struct Quantizing {
    let kernels: pk_kernels
    let prelude: RowPrelude?
    let x: UnsafePointer<Float>
    let quantized: QuantizedRows
    let memory: LaneMemory

    func compute(_ row: Int, lane: Int) {
      let columns = quantized.layout.columns
      var source = x + row * (prelude?.inputWidth(columns) ?? columns)
      let own = memory.floats(lane: lane)
      if let prelude {
        prelude.apply(kernels, source, width: columns, into: own)
        source = UnsafePointer(own)
      }
      quantized.take(0..<columns, ofRow: row, from: source, rotated: own, kernels)
    }
  }
}

/// Memory of an operation: some for each lane, aligned to 64, then the rest.
struct LaneMemory {
  /// What a kernel needs besides, of the first lane.
  let workspace: UnsafeMutableRawPointer
  private let floats: UnsafeMutableRawPointer
  private let laneBytes: Int
  let rest: UnsafeMutableRawPointer

  /// - Parameters:
  ///   - workspace: bytes of a lane, a multiple of 64.
  ///   - behind: bytes of the rest.
  /// - Throws: `PETAR_ERROR_OUT_OF_MEMORY`.
  init(threads: Int, floats: Int, workspace: Int, behind rest: Int, in scratch: Scratch) throws {
    guard let laneBytes = product(roundedUp(floats, to: 16), 4), let workspaceBytes = product(threads, workspace),
      let floatBytes = product(threads, laneBytes), max(workspaceBytes, floatBytes, rest) < Int.max / 4
    else { throw PetarError(PETAR_ERROR_OUT_OF_MEMORY, "out of memory: \(floats) values for each thread") }
    self.laneBytes = laneBytes
    self.workspace = try scratch.bytes(workspaceBytes + floatBytes + rest)
    self.floats = self.workspace + workspaceBytes
    self.rest = self.floats + floatBytes
  }

  func floats(lane: Int) -> UnsafeMutablePointer<Float> {
    (floats + lane * laneBytes).assumingMemoryBound(to: Float.self)
  }
}

extension pk_linear {
  /// `w` with all rows of `out`; what it reads is missing.
  init(
    _ w: Matrix, bias: UnsafePointer<Float>?, into out: UnsafeMutablePointer<Float>, _ epilogue: Epilogue
  ) {
    self.init()
    weights = w.bytes
    panel_bytes = w.layout.panelBytes
    outputs = w.layout.rows
    column_end = w.layout.paddedColumns
    self.bias = bias
    self.out = out
    out_stride = w.layout.rows
    self.epilogue = epilogue.kernel
  }
}

typealias LinearKernel = @convention(c) (UnsafePointer<pk_linear>?, Int, Int, Int, Int) -> Void

extension pk_kernels {
  func linear(_ encoding: Encoding) -> LinearKernel {
    switch encoding {
    case .f32: linear_f32
    case .f16: linear_f16
    case .q8: linear_q8
    case .q4: linear_q4
    }
  }
}

/// How a linear layer is cut into parts for threads and caches: blocks of rows times ranges of panels.
struct Tiling {
  let count: Int
  /// Of a part.
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
      // group with q4, whose kernel works group by group.
      let cached = layout.encoding == .q4 ? layout.groupSize * 4 : layout.paddedColumns
      let rowBytes = cached * (layout.encoding.isInt8 ? 1 : 4)
      rowBlock = Self.wholeTiles((384 << 10) / rowBytes, of: rows)
      // At least four parts a thread, unless parts get smaller than a thread is worth.
      let work = rowBlock * layout.paddedColumns * 16
      let fair = panels * ((rows + rowBlock - 1) / rowBlock) / (threads * 4)
      panelBlock = max(roundedUp(min(fair, 8), to: 4), (1 << 17) / work, 4)
    }
    rowBlocks = (rows + rowBlock - 1) / rowBlock
    workspaceBytes = Self.workspaceBytes(layout.encoding, rows: rowBlock, panels: min(panelBlock, panels))
    panelBlocks = (panels + panelBlock - 1) / panelBlock
    count = rowBlocks * panelBlocks
    // Whichever brings fewer bytes into a second-level cache: all weights for each block of rows, as in a tower, or all
    // activations for each range of panels, as in a prefill. A tower's layers of 3072 columns take 3 % less time so.
    let activationBytes = rows * layout.paddedColumns * (layout.encoding.isInt8 ? 1 : 4)
    staysWithRows = layout.byteCount / panelBlocks < activationBytes / rowBlocks
  }

  /// How many of `rows` rows a part has that should have about `count`: kernels' tiles have 1, 4, 6 or 8 rows. Those of
  /// AMX have 16 and 32, and AVX-512 takes what they leave.
  static func wholeTiles(_ count: Int, of rows: Int) -> Int { min(max(count / 24, 1) * 24, rows) }

  /// What the kernel of q4 needs for a part of more than 4 rows: 64 bytes for each row and panel.
  static func workspaceBytes(_ encoding: Encoding, rows: Int, panels: Int) -> Int {
    encoding == .q4 && rows > 4 ? rows * panels * 64 : 0
  }

  subscript(index: Int) -> (rows: Range<Int>, panels: Range<Int>) {
    let row = (staysWithRows ? index / panelBlocks : index % rowBlocks) * rowBlock
    let panel = (staysWithRows ? index % panelBlocks : index / rowBlocks) * panelBlock
    return (row..<min(row + rowBlock, rows), panel..<min(panel + panelBlock, panels))
  }
}
