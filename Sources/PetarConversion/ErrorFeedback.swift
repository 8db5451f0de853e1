import CPetar
import Petar

/// How the inputs of a linear layer go together, and what follows for rounding its weights: GPTQ (arXiv 2210.17323).
///
/// Columns are rounded one after another, and what is lost in one is made up for in those that follow, as far as the
/// inputs allow. With inputs X (tokens x columns) and H = X^T X = R R^T, R upper triangular, the squared error of the
/// outputs is ||E R||^2 for errors of the weights E = W - Q. Column j of E R is e_j R_jj plus the sum of e_i R_ij over
/// the columns before: zero for w_j + sum / R_jj, so that is what is rounded. With U = R^-1 these are the formulas of the
/// paper, which takes U from the Cholesky decomposition of H^-1; R needs no inverse of H.
///
/// Columns come in blocks, the groups of q4: what blocks do to each other is a product of matrices.
package struct ErrorFeedback {
  let columns: Int
  /// Columns of a block; the last one may be narrower.
  let blockColumns: Int
  /// (columns, columns): what an error in a column adds to a column of a later block.
  private let between: Buffer<Float>
  /// For each block what an error in a column adds to the later ones of the block, as `packQ4Group` takes it.
  private let within: [Buffer<Float>]
  private let compute: Compute

  /// What is added to the diagonal of H, as a part of its mean: directions that the texts happen not to use must not
  /// cost nothing. The paper's 1 % is for 60 times as many tokens; with three sets of 4000 SmolLM2-135M loses 3.2, 2.0
  /// and 4.0 % of perplexity with it and 1.8, 2.0 and 3.1 % with 10 %.
  private static let damping = 0.1

  /// - Parameters:
  ///   - inputs: `rows` rows of `columns` floats, rotated as the weights are.
  ///   - blockColumns: a multiple of 8.
  /// - Throws: `PETAR_ERROR_BAD_FILE` when inputs are not finite, `PETAR_ERROR_OUT_OF_MEMORY`.
  package init(
    inputs: UnsafePointer<Float>, rows: Int, columns: Int, blockColumns: Int, _ compute: Compute, scratch: Scratch
  ) throws {
    self.columns = columns
    self.blockColumns = blockColumns
    self.compute = compute
    between = try Buffer(count: product(columns, columns) ?? Int.max)
    let factor = between.base
    try MatrixProduct(compute, rows: columns, columns: columns, depth: rows, upperOnly: true).run(
      Factor(inputs, stride: columns, transposed: true), Factor(inputs, stride: columns), into: factor,
      stride: columns, scratch: scratch)
    let mean = (0..<columns).reduce(0.0) { $0 + Double(factor[$1 * columns + $1]) } / Double(columns)
    guard mean.isFinite else {
      throw PetarError(PETAR_ERROR_BAD_FILE, "the calibration texts make activations that are not finite")
    }
    // Inputs that are all zero have nothing to say.
    let added = mean > 0 ? Self.damping * mean : 1
    for column in 0..<columns { factor[column * columns + column] += Float(added) }

    var diagonal: [DiagonalBlock] = []
    for block in Self.blocks(columns, of: blockColumns).reversed() {
      let (first, end, width) = (block.lowerBound, block.upperBound, block.count)
      try MatrixProduct(compute, rows: end, columns: width, depth: columns - end, subtracting: true).run(
        Factor(factor + end, stride: columns),
        Factor(factor + first * columns + end, stride: columns, transposed: true), into: factor + first,
        stride: columns, scratch: scratch)
      let corner = DiagonalBlock(
        factor + first * columns + first, stride: columns, width: width, leastPivot: added)
      diagonal.append(corner)
      try Self.multiply(
        factor + first, rows: first, stride: columns, by: corner, transposed: true, compute, scratch: scratch)
    }
    diagonal.reverse()
    within = try diagonal.map { try $0.feedback() }
    for (block, corner) in zip(Self.blocks(columns, of: blockColumns), diagonal) {
      try Self.multiply(
        factor + block.lowerBound, rows: block.lowerBound, stride: columns, by: corner, transposed: false, compute,
        scratch: scratch)
    }
  }

  private static func blocks(_ columns: Int, of width: Int) -> [Range<Int>] {
    stride(from: 0, to: columns, by: width).map { $0..<min($0 + width, columns) }
  }

  /// Rows times the inverse of a block of R, or its transpose, in place.
  private static func multiply(
    _ x: UnsafeMutablePointer<Float>, rows: Int, stride: Int, by block: DiagonalBlock, transposed: Bool,
    _ compute: Compute, scratch: Scratch
  ) throws {
    let width = block.width
    let result = try Buffer<Float>(count: rows * width)
    let inverse = block.inverse.map(Float.init)
    try inverse.withUnsafeBufferPointer { inverse in
      guard let base = inverse.baseAddress else { return }
      try MatrixProduct(compute, rows: rows, columns: width, depth: width).run(
        Factor(x, stride: stride), Factor(base, stride: width, transposed: transposed), into: result.base,
        stride: width, scratch: scratch)
    }
    for row in 0..<rows { (x + row * stride).update(from: result.base + row * width, count: width) }
  }

  // ---- Rounding ---------------------------------------------------------------------------------------------------

  /// Packs a matrix as q4 with scales, multipliers and codes that suit the values as they are when their turn comes.
  /// - Parameters:
  ///   - weights: `layout.rows` rows of `layout.columns` floats, rotated; they become the errors, weight less packed.
  ///   - target: `layout.byteCount` zeros.
  ///   - progress: called after each block with the share of the columns done; what it throws ends the work.
  /// - Throws: `PETAR_ERROR_UNSUPPORTED` for values that are not finite.
  package func pack(
    _ weights: UnsafeMutablePointer<Float>, _ layout: MatrixLayout, into target: UnsafeMutableRawPointer,
    scratch: Scratch, progress: (Double) throws -> Void = { _ in }
  ) throws {
    let wanted = try Buffer<Float>(count: product(layout.rows, blockColumns) ?? Int.max)
    let panels = try Buffer<Float>(count: blockColumns * 16 * compute.pool.threads)
    for (group, block) in Self.blocks(columns, of: blockColumns).enumerated() {
      let (first, width) = (block.lowerBound, block.count)
      compute.pool.run(layout.panels) { panel in
        for row in (panel * 16)..<min(panel * 16 + 16, layout.rows) {
          (wanted.base + row * width).update(from: weights + row * columns + first, count: width)
        }
      }
      try MatrixProduct(compute, rows: layout.rows, columns: width, depth: first).run(
        Factor(weights, stride: columns), Factor(between.base + first, stride: columns), into: wanted.base,
        stride: width, scratch: scratch)

      let failure = FirstFailure()
      compute.pool.run(layout.panels) { panel, lane in
        failure.catching {
          let values = panels.base + lane * blockColumns * 16
          values.update(repeating: 0, count: blockColumns * 16)
          let rows = (panel * 16)..<min(panel * 16 + 16, layout.rows)
          for row in rows {
            for column in 0..<width { values[column * 16 + row % 16] = wanted.base[row * width + column] }
          }
          try layout.packQ4Group(
            group, of: values, feedback: within[group].base, into: target + panel * layout.panelBytes)
          for row in rows {
            let errors = weights + row * columns + first
            for column in 0..<width { errors[column] -= values[column * 16 + row % 16] }
          }
        }
      }
      try failure.rethrow()
      try progress(Double(block.upperBound) / Double(columns))
    }
  }
}

/// A block on the diagonal of R and its inverse, (width, width), row after row, zero below the diagonal. f64: it is
/// small, and everything else follows from it.
private struct DiagonalBlock {
  let width: Int
  private var factor: [Double]
  private(set) var inverse: [Double]

  /// - Parameters:
  ///   - moments: what is left of H when later blocks have had their share; its upper half becomes that of R.
  ///   - leastPivot: what was added to the diagonal: no pivot is smaller but for rounding.
  init(_ moments: UnsafeMutablePointer<Float>, stride: Int, width: Int, leastPivot: Double) {
    self.width = width
    factor = [Double](repeating: 0, count: width * width)
    inverse = factor
    for column in (0..<width).reversed() {
      for row in (0...column).reversed() {
        var sum = Double(moments[row * stride + column])
        for k in (column + 1)..<width { sum -= factor[row * width + k] * factor[column * width + k] }
        factor[row * width + column] =
          row == column ? max(sum, leastPivot).squareRoot() : sum / factor[column * width + column]
        moments[row * stride + column] = Float(factor[row * width + column])
      }
    }
    for column in 0..<width {
      inverse[column * width + column] = 1 / factor[column * width + column]
      for row in (0..<column).reversed() {
        var sum = 0.0
        for k in (row + 1)...column { sum += factor[row * width + k] * inverse[k * width + column] }
        inverse[row * width + column] = -sum / factor[row * width + row]
      }
    }
  }

  /// -R_kk U_kj for the 8 columns k that share a multiplier and the columns j behind them; as wide as the columns rounded
  /// up to a multiple of 8.
  func feedback() throws -> Buffer<Float> {
    let padded = (width + 7) / 8 * 8
    let shares = try Buffer<Float>(count: padded * padded)
    for first in stride(from: 0, to: width, by: 8) {
      let end = min(first + 8, width)
      for row in first..<end {
        for column in end..<width {
          var sum = 0.0
          for k in row..<end { sum -= factor[row * width + k] * inverse[k * width + column] }
          shares.base[row * padded + column] = Float(sum)
        }
      }
    }
    return shares
  }
}
