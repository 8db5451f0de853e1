extension Affine {
  /// The inverse, bit for bit that of `scipy.linalg.inv` on the 4 x 4 matrix.
  ///
  /// LAPACK's way over OpenBLAS: LU with row pivoting, column by column; the inverse of U; then L solved from the
  /// right. The order of the sums and where they are fused were found by comparison.
  var inverse: Affine {
    var matrix = Matrix4(self)
    let pivots = matrix.factorize()
    let inverse = matrix.inverseFromFactors(pivots)
    return Affine(
      x: inverse.column(0), y: inverse.column(1), z: inverse.column(2), origin: inverse.column(3))
  }
}

/// A 4 x 4 matrix in LAPACK's hands.
private struct Matrix4 {
  /// Column by column.
  private var elements = [Double](repeating: 0, count: 16)

  private init() {}

  init(_ affine: Affine) {
    for (column, values) in [affine.x, affine.y, affine.z, affine.origin].enumerated() {
      for row in 0..<3 { self[row, column] = values[row] }
    }
    self[3, 3] = 1
  }

  subscript(row: Int, column: Int) -> Double {
    get { elements[column * 4 + row] }
    set { elements[column * 4 + row] = newValue }
  }

  func column(_ index: Int) -> SIMD3<Double> { SIMD3(self[0, index], self[1, index], self[2, index]) }

  private mutating func swap(_ a: (row: Int, column: Int), _ b: (row: Int, column: Int)) {
    (self[a.row, a.column], self[b.row, b.column]) = (self[b.row, b.column], self[a.row, a.column])
  }

  /// L below the diagonal, U on and above it (getf2).
  /// - Returns: the row that each row was exchanged with.
  mutating func factorize() -> [Int] {
    var pivots: [Int] = []
    for column in 0..<4 {
      for (row, pivot) in pivots.enumerated() where pivot != row { swap((row, column), (pivot, column)) }
      for row in 1..<4 {
        var sum = 0.0
        for k in 0..<min(row, column) { sum = sum.addingProduct(self[row, k], self[k, column]) }
        self[row, column] -= sum
      }
      let pivot = (column..<4).max { abs(self[$0, column]) < abs(self[$1, column]) } ?? column
      pivots.append(pivot)
      if pivot != column {
        for k in 0...column { swap((pivot, k), (column, k)) }
      }
      let reciprocal = 1 / self[column, column]
      for row in (column + 1)..<4 { self[row, column] *= reciprocal }
    }
    return pivots
  }

  /// The inverse of what was factorized (trti2, getri).
  func inverseFromFactors(_ pivots: [Int]) -> Matrix4 {
    var result = Matrix4()
    for column in 0..<4 {
      result[column, column] = 1 / self[column, column]
      var x = (0..<column).map { self[$0, column] }
      for k in 0..<column {
        let factor = x[k]
        for row in 0..<k { x[row] = x[row].addingProduct(factor, result[row, k]) }
        x[k] *= result[k, k]
      }
      for row in 0..<column { result[row, column] = -result[column, column] * x[row] }
    }
    for column in (0..<3).reversed() {
      for row in 0..<4 {
        var sum = 0.0
        for k in ((column + 1)..<4).reversed() { sum = sum.addingProduct(self[k, column], result[row, k]) }
        result[row, column] -= sum
      }
    }
    for column in (0..<4).reversed() where pivots[column] != column {
      for row in 0..<4 { result.swap((row, column), (row, pivots[column])) }
    }
    return result
  }
}
