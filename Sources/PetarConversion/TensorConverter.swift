import CPetar
import Petar

/// Converts one tensor, a block of rows at a time, so that memory does not grow with the model.
struct TensorConverter {
  let plan: TensorPlan
  let entry: PetarFileEntry
  let tensors: [String: CheckpointTensor]

  /// Values held at once: 8 MiB of f32, and as much again for the bytes read and the bytes packed.
  private static let blockValues = 2 << 20

  /// Bytes of the checkpoint that go into this tensor.
  var sourceBytes: Int { plan.parts.reduce(0) { $0 + (tensors[$1.name]?.byteCount ?? 0) } }

  /// - Parameter progress: called with the checkpoint bytes of each block; what it throws ends the work.
  /// - Returns: how far the packed matrix is from the checkpoint's; nil for a vector, which is kept as it is.
  func run(into output: PetarFileWriter.Tensor, progress: (Int) throws -> Void) throws -> PackingError? {
    switch entry.form {
    case .vector(let count):
      try vector(count: count, into: output, progress: progress)
      return nil
    case .matrix(let layout):
      return try matrix(layout, into: output, progress: progress)
    }
  }

  private func vector(count: Int, into output: consuming PetarFileWriter.Tensor, progress: (Int) throws -> Void) throws
  {
    let values = try Buffer<Float>(count: count)
    try RowReader(plan, tensors: tensors, blockRows: 1).read(first: 0, count: 1, into: values.base)
    try output.append(UnsafeRawBufferPointer(values.elements))
    try output.finish()
    try progress(bytes(rows: 1, of: count))
  }

  private func matrix(
    _ layout: MatrixLayout, into output: consuming PetarFileWriter.Tensor, progress: (Int) throws -> Void
  ) throws -> PackingError {
    let panelRows = MatrixLayout.panelRows
    let blockPanels = max(Self.blockValues / (layout.columns * panelRows), 1)
    let blockRows = blockPanels * panelRows
    let reader = try RowReader(plan, tensors: tensors, blockRows: blockRows)
    let values = try Buffer<Float>(count: blockRows * layout.columns)
    let packed = try Buffer<UInt8>(count: blockPanels * layout.panelBytes)
    var error = PackingError()
    for first in stride(from: 0, to: layout.rows, by: blockRows) {
      let count = min(blockRows, layout.rows - first)
      try reader.read(first: first, count: count, into: values.base)
      let panels = (count + panelRows - 1) / panelRows
      for panel in 0..<panels {
        let rows = values.base + panel * panelRows * layout.columns
        let rowCount = min(panelRows, count - panel * panelRows)
        let target = UnsafeMutableRawPointer(packed.base + panel * layout.panelBytes)
        do {
          error += try layout.packPanel(rows: rows, rowStride: layout.columns, rowCount: rowCount, into: target)
        } catch let failure as PetarError {
          throw PetarError(failure.status, "tensor \(plan.parts[0].name): \(failure.message)")
        }
      }
      try output.append(UnsafeRawBufferPointer(start: packed.base, count: panels * layout.panelBytes))
      try progress(bytes(rows: count, of: layout.columns))
    }
    try output.finish()
    return error
  }

  private func bytes(rows: Int, of columns: Int) -> Int {
    rows * columns * (plan.parts.first.flatMap { tensors[$0.name]?.type }?.byteCount ?? 0)
  }
}
