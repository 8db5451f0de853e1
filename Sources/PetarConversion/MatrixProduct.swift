import CKernels
import Petar

/// A matrix of f32 as a product takes it: rows `stride` apart, or the transpose of such rows.
package struct Factor {
  package let base: UnsafePointer<Float>
  package let stride: Int
  package let transposed: Bool

  package init(_ base: UnsafePointer<Float>, stride: Int, transposed: Bool = false) {
    self.base = base
    self.stride = stride
    self.transposed = transposed
  }

  /// What is left of it from a row and a column on.
  package func from(row: Int = 0, column: Int = 0) -> Factor {
    Factor(
      base + (transposed ? column * stride + row : row * stride + column), stride: stride, transposed: transposed)
  }
}

/// `c += a b`, or `c -= a b`: f32, on all threads. Sums run over blocks of the depth in their order, so results are the
/// same bits whatever the threads.
package struct MatrixProduct {
  let rows: Int
  let columns: Int
  let depth: Int
  let subtracting: Bool
  /// Results below the diagonal of `c` are not wanted and may be left as they are.
  let upperOnly: Bool

  /// What a part of the work needs of `a` and `b` at a time fits a second-level cache of 1 MiB, copied there: 192 rows
  /// and 256 columns of 512 sums' terms.
  private static let partRows = 192
  private static let partPanels = 16
  private static let partDepth = 512
  private static let scratchFloats = partDepth * (partRows + partPanels * 16)

  private let compute: Compute

  package init(
    _ compute: Compute, rows: Int, columns: Int, depth: Int, subtracting: Bool = false, upperOnly: Bool = false
  ) {
    self.compute = compute
    self.rows = rows
    self.columns = columns
    self.depth = depth
    self.subtracting = subtracting
    self.upperOnly = upperOnly
  }

  /// - Parameters:
  ///   - a: rows x depth; `b` is depth x columns.
  ///   - stride: floats from one row of `c` to the next.
  package func run(_ a: Factor, _ b: Factor, into c: UnsafeMutablePointer<Float>, stride: Int, scratch: Scratch) throws
  {
    guard rows > 0, columns > 0, depth > 0 else { return }
    let memory = try scratch.bytes(Self.scratchFloats * 4 * compute.pool.threads).assumingMemoryBound(to: Float.self)
    let rowParts = (rows + Self.partRows - 1) / Self.partRows
    let columnParts = (columns + Self.partPanels * 16 - 1) / (Self.partPanels * 16)
    compute.pool.run(rowParts * columnParts) { part, lane in
      let row = part % rowParts * Self.partRows
      let column = part / rowParts * Self.partPanels * 16
      let extent = (min(Self.partRows, rows - row), min(Self.partPanels * 16, columns - column))
      guard !upperOnly || row < column + extent.1 else { return }
      run(
        a, b, row: row, column: column, extent, into: c + row * stride + column, stride,
        memory + lane * Self.scratchFloats)
    }
  }

  private func run(
    _ a: Factor, _ b: Factor, row: Int, column: Int, _ extent: (rows: Int, columns: Int),
    into c: UnsafeMutablePointer<Float>, _ stride: Int, _ memory: UnsafeMutablePointer<Float>
  ) {
    let panels = memory + Self.partRows * Self.partDepth
    var linear = pk_linear()
    linear.outputs = extent.columns
    linear.x = UnsafePointer(memory)
    linear.x_stride = Self.partDepth
    linear.weights = UnsafeRawPointer(panels)
    linear.out = c
    linear.out_stride = stride
    linear.epilogue = PK_ADD
    for first in Swift.stride(from: 0, to: depth, by: Self.partDepth) {
      let count = min(Self.partDepth, depth - first)
      copyRows(of: a, row..<(row + extent.rows), first..<(first + count), to: memory)
      copyPanels(of: b, first..<(first + count), column..<(column + extent.columns), to: panels)
      linear.column_end = count
      linear.panel_bytes = count * 64
      compute.kernels.linear_f32(&linear, 0, extent.rows, 0, (extent.columns + 15) / 16)
    }
  }

  /// Rows of `partDepth` floats.
  private func copyRows(of a: Factor, _ rows: Range<Int>, _ depth: Range<Int>, to target: UnsafeMutablePointer<Float>) {
    if a.transposed {
      // Sixteen rows at a time: what is read of a line of the cache is used while it is there.
      for first in Swift.stride(from: rows.lowerBound, to: rows.upperBound, by: 16) {
        for (place, k) in depth.enumerated() {
          let source = a.base + k * a.stride
          for row in first..<min(first + 16, rows.upperBound) {
            target[(row - rows.lowerBound) * Self.partDepth + place] = source[row]
          }
        }
      }
    } else {
      for row in rows {
        (target + (row - rows.lowerBound) * Self.partDepth)
          .update(from: a.base + row * a.stride + depth.lowerBound, count: depth.count)
      }
    }
  }

  /// Panels of 16 columns, `[depth][16]`, as the kernel takes weights; the last one is filled up with zeros.
  private func copyPanels(
    of b: Factor, _ depth: Range<Int>, _ columns: Range<Int>, to target: UnsafeMutablePointer<Float>
  ) {
    let sign: Float = subtracting ? -1 : 1
    var panel = target
    for first in Swift.stride(from: columns.lowerBound, to: columns.upperBound, by: 16) {
      let count = min(16, columns.upperBound - first)
      if count < 16 { panel.update(repeating: 0, count: depth.count * 16) }
      if b.transposed {
        for column in 0..<count {
          let source = b.base + (first + column) * b.stride + depth.lowerBound
          for place in 0..<depth.count { panel[place * 16 + column] = sign * source[place] }
        }
      } else {
        for place in 0..<depth.count {
          let source = b.base + (depth.lowerBound + place) * b.stride + first
          for column in 0..<count { panel[place * 16 + column] = sign * source[column] }
        }
      }
      panel += depth.count * 16
    }
  }
}
