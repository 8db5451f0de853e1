import CPetar

/// Voxel index to millimetres: x right, y anterior, z superior (RAS).
///
/// Products and the inverse round as numpy's and scipy's do (over OpenBLAS: a chain of fused multiply-adds for each
/// element), so that a voxel on the edge of a box falls on the same side of it as in the released pipeline.
package struct Affine: Sendable, Equatable {
  /// Millimetres for one step along the first, second and third voxel axis.
  package var x: SIMD3<Double>
  package var y: SIMD3<Double>
  package var z: SIMD3<Double>
  /// Where the centre of voxel (0, 0, 0) lies.
  package var origin: SIMD3<Double>

  init(x: SIMD3<Double>, y: SIMD3<Double>, z: SIMD3<Double>, origin: SIMD3<Double>) {
    self.x = x
    self.y = y
    self.z = z
    self.origin = origin
  }

  /// A matrix that can be inverted and whose numbers can be millimetres.
  /// - Parameter rows: 4 x 4 numbers, row by row; the last row is 0 0 0 1.
  /// - Throws: `PETAR_ERROR_BAD_GEOMETRY`.
  package init(rows: [Double]) throws {
    guard rows.count == 16 else {
      throw PetarError(PETAR_ERROR_BAD_GEOMETRY, "an affine has 16 numbers, not \(rows.count)")
    }
    guard rows.allSatisfy({ $0.isFinite && abs($0) <= Self.largestNumber }) else {
      throw PetarError(
        PETAR_ERROR_BAD_GEOMETRY,
        "the affine holds NaN, infinity or a number beyond \(Self.largestNumber) mm; correct the header")
    }
    guard zip(rows[12...], [0, 0, 0, 1]).allSatisfy({ abs($0 - $1) <= 1e-6 }) else {
      throw PetarError(
        PETAR_ERROR_BAD_GEOMETRY,
        "the last row of the affine is not 0 0 0 1; pass the matrix row by row (it may be transposed)")
    }
    func column(_ index: Int) -> SIMD3<Double> { SIMD3(rows[index], rows[4 + index], rows[8 + index]) }
    self.init(x: column(0), y: column(1), z: column(2), origin: column(3))
    let lengths = spacing
    // The share of a box with these edges that the (possibly sheared) voxel fills; 1 for right angles.
    let fill = abs(determinant) / (lengths.x * lengths.y * lengths.z)
    guard lengths.min() > Self.smallestSpacing, fill > Self.smallestFill else {
      throw PetarError(
        PETAR_ERROR_BAD_GEOMETRY,
        "the affine is singular (voxel edges of \(lengths.x), \(lengths.y) and \(lengths.z) mm that span "
          + "\(abs(determinant)) mm3): it does not say where voxels lie; correct the header")
    }
  }

  private static let largestNumber = 1e7
  private static let smallestSpacing = 1e-4
  private static let smallestFill = 1e-4

  /// Lengths of the voxel's edges in millimetres.
  package var spacing: SIMD3<Double> { SIMD3(Self.length(x), Self.length(y), Self.length(z)) }

  /// Signed volume of a voxel in mm3.
  package var determinant: Double {
    x.x * (y.y * z.z - y.z * z.y) - y.x * (x.y * z.z - x.z * z.y) + z.x * (x.y * y.z - x.z * y.y)
  }

  package func callAsFunction(_ point: SIMD3<Double>) -> SIMD3<Double> {
    direction(point) + origin
  }

  private func direction(_ vector: SIMD3<Double>) -> SIMD3<Double> {
    (x * vector.x).addingProduct(y, vector.y).addingProduct(z, vector.z)
  }

  /// First `other`, then this.
  func composed(with other: Affine) -> Affine {
    Affine(x: direction(other.x), y: direction(other.y), z: direction(other.z), origin: self(other.origin))
  }

  private static func length(_ vector: SIMD3<Double>) -> Double { (vector * vector).sum().squareRoot() }

  /// The rotation nearest to the axes' directions (the orthogonal polar factor), by Newton's iteration.
  var rotation: [SIMD3<Double>] {
    let lengths = spacing
    var current = Affine(x: x / lengths.x, y: y / lengths.y, z: z / lengths.z, origin: .zero)
    for _ in 0..<60 {
      let inverse = current.inverse
      let next = Affine(
        x: (current.x + SIMD3(inverse.x.x, inverse.y.x, inverse.z.x)) / 2,
        y: (current.y + SIMD3(inverse.x.y, inverse.y.y, inverse.z.y)) / 2,
        z: (current.z + SIMD3(inverse.x.z, inverse.y.z, inverse.z.z)) / 2, origin: .zero)
      if next == current { break }
      current = next
    }
    return [current.x, current.y, current.z]
  }
}
