import CKernels
import CPetar

extension Compute {
  /// `out += gelu(prelude(x) w₁ᵀ + b₁) w₂ᵀ + b₂`: the perceptron of a vision block, with int8 weights (q8, q4).
  ///
  /// As two calls of `linear`, bit for bit, but the rows between the layers, the widest of a block, never go to memory as
  /// floats: a part makes the columns that one rotation spans for some rows, and quantizes them in the second-level
  /// cache that they are in. Both layers of a tower take 0.91 of the time (Emerald Rapids).
  /// - Parameters:
  ///   - first: to as many outputs as `second` has columns.
  ///   - out: `rows` rows of `second.rows`.
  /// - Throws: `PETAR_ERROR_INTERNAL` for other matrices, `PETAR_ERROR_OUT_OF_MEMORY`.
  package func perceptron(
    _ x: UnsafePointer<Float>, rows: Int, after prelude: RowPrelude,
    _ first: Matrix, bias firstBias: UnsafePointer<Float>?, _ second: Matrix, bias: UnsafePointer<Float>?,
    into out: UnsafeMutablePointer<Float>, scratch: Scratch
  ) throws {
    guard rows > 0 else { return }
    guard first.layout.encoding.isInt8, second.layout.encoding.isInt8, first.rows == second.layout.columns else {
      throw PetarError(
        PETAR_ERROR_INTERNAL,
        "a perceptron of \(first.layout.encoding) and \(second.layout.encoding), \(first.rows) outputs for "
          + "\(second.layout.columns) columns")
    }
    let kernels = kernels
    let block = QuantizedRows.block(second.layout)
    // The block and its weights, 800 KB of a tower's, stay in a second-level cache.
    let partRows = Tiling.wholeTiles((192 << 10) / (4 * block), of: rows)
    let tiling = Tiling(rows: rows, second.layout, threads: pool.threads)
    let workspace = Tiling.workspaceBytes(first.layout.encoding, rows: partRows, panels: (block + 15) / 16)
    let firstBytes = try QuantizedRows.bytes(rows: rows, first.layout, kernels)
    let memory = try LaneMemory(
      threads: pool.threads, floats: max(partRows * block, quantizingFloats(first.layout, prelude)),
      workspace: max(workspace, tiling.workspaceBytes),
      behind: firstBytes + QuantizedRows.bytes(rows: rows, second.layout, kernels), in: scratch)
    let inputs = QuantizedRows(rows: rows, first.layout, kernels, at: memory.rest)
    let hidden = QuantizedRows(rows: rows, second.layout, kernels, at: memory.rest + firstBytes)

    quantize(x, after: prelude, into: inputs, memory)
    var blocks = HiddenBlocks(
      kernels: kernels, linear: pk_linear(first, bias: firstBias, into: memory.floats(lane: 0), .gelu), inputs: inputs,
      hidden: hidden, block: block, partRows: partRows, workspace: workspace, memory: memory)
    pool.run(blocks.count, &blocks) { blocks, index, lane in
      blocks.assumingMemoryBound(to: HiddenBlocks.self).pointee.compute(index, lane: lane)
    }
    var linear = pk_linear(second, bias: bias, into: out, .add)
    hidden.point(&linear)
    linear.workspace = memory.workspace
    run(linear, second.layout.encoding, tiling)
  }
}

/// The rows between the layers, in parts of `partRows` rows and `block` columns.
private struct HiddenBlocks {
  let kernels: pk_kernels
  /// All of the first layer.
  let linear: pk_linear
  let inputs: QuantizedRows
  let hidden: QuantizedRows
  let block: Int
  let partRows: Int
  let workspace: Int
  let memory: LaneMemory

  private var rowParts: Int { (inputs.rows + partRows - 1) / partRows }
  var count: Int { rowParts * ((linear.outputs + block - 1) / block) }

  /// Block by block, so that a lane keeps the weights of one.
  func compute(_ index: Int, lane: Int) {
    let row = index % rowParts * partRows
    let rows = min(partRows, inputs.rows - row)
    let column = index / rowParts * block
    let columns = column..<min(column + block, linear.outputs)
    let floats = memory.floats(lane: lane)
    var part = linear
    part.weights += column / 16 * linear.panel_bytes
    part.bias = linear.bias.map { $0 + column }
    part.outputs = columns.count
    part.out = floats
    part.out_stride = columns.count
    part.workspace = memory.workspace + lane * workspace
    inputs.point(&part, from: row)
    kernels.linear(inputs.layout.encoding)(&part, 0, rows, 0, (columns.count + 15) / 16)
    for index in 0..<rows {
      let own = floats + index * columns.count
      hidden.take(columns, ofRow: row + index, from: own, rotated: own, kernels)
    }
  }
}
