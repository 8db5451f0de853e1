/// Where the voxels of a volume lie: how many along each axis, and voxel index to millimetres.
package struct Grid: Sendable, Equatable {
  package var shape: SIMD3<Int>
  package var affine: Affine

  package init(shape: SIMD3<Int>, affine: Affine) {
    self.shape = shape
    self.affine = affine
  }

  package var count: Int { shape.x &* shape.y &* shape.z }

  /// The index of the last voxel.
  var last: SIMD3<Double> { SIMD3(Double(shape.x - 1), Double(shape.y - 1), Double(shape.z - 1)) }

  /// The eight corner voxel centres under `map`.
  func corners(_ map: Affine) -> [SIMD3<Double>] {
    (0..<8).map { corner in
      map(SIMD3(corner & 1 > 0 ? last.x : 0, corner & 2 > 0 ? last.y : 0, corner & 4 > 0 ? last.z : 0))
    }
  }

  /// The smallest box parallel to the axes of `map`'s target that holds all voxel centres.
  func bounds(_ map: Affine) -> (lower: SIMD3<Double>, upper: SIMD3<Double>) {
    let points = corners(map)
    return points.reduce((points[0], points[0])) { (pointwiseMin($0.0, $1), pointwiseMax($0.1, $1)) }
  }

  /// Same shape, and every corner voxel at the same place within `tolerance` millimetres.
  func agrees(with other: Grid, tolerance: Double) -> Bool {
    guard shape == other.shape else { return false }
    return zip(corners(affine), other.corners(other.affine)).allSatisfy { a, b in
      let difference = a - b
      return (difference * difference).sum() <= tolerance * tolerance
    }
  }

  /// Whether the boxes around both grids, their outer voxels' full extent included, share any volume.
  func overlaps(_ other: Grid) -> Bool {
    func box(_ grid: Grid) -> (lower: SIMD3<Double>, upper: SIMD3<Double>) {
      let (lower, upper) = grid.bounds(grid.affine)
      let x = grid.affine.x
      let y = grid.affine.y
      let z = grid.affine.z
      let margin = (absolute(x) + absolute(y) + absolute(z)) / 2
      return (lower - margin, upper + margin)
    }
    let a = box(self)
    let b = box(other)
    return all(a.lower .< b.upper) && all(b.lower .< a.upper)
  }

  private func absolute(_ vector: SIMD3<Double>) -> SIMD3<Double> { pointwiseMax(vector, -vector) }

  // MARK: Orientation

  /// For each stored axis the patient axis (0 right, 1 anterior, 2 superior) it runs along most, and which way:
  /// the rule of nibabel's `io_orientation`, strongest axis first.
  private var orientation: [(patientAxis: Int, reversed: Bool)] {
    let columns = affine.rotation
    func strength(_ axis: Int) -> Double { (columns[axis] * columns[axis]).max() }
    let order = (0..<3).sorted { (strength($0), $1) > (strength($1), $0) }
    var free = [true, true, true]
    var result = [(patientAxis: Int, reversed: Bool)](repeating: (0, false), count: 3)
    for axis in order {
      var best = -1
      for candidate in 0..<3 where free[candidate] {
        if best < 0 || abs(columns[axis][candidate]) > abs(columns[axis][best]) { best = candidate }
      }
      free[best] = false
      result[axis] = (best, columns[axis][best] < 0)
    }
    return result
  }

  /// Where each stored axis points, as in "LPS": left, posterior, superior.
  package var axes: String {
    orientation.map { $0.reversed ? ["L", "P", "I"][$0.patientAxis] : ["R", "A", "S"][$0.patientAxis] }.joined()
  }

  /// The same voxels seen with axes that run right, anterior and superior (nibabel's `as_closest_canonical`):
  /// nothing is moved or interpolated.
  var canonical: VoxelView {
    let strides = SIMD3(1, shape.x, shape.x &* shape.y)
    let columns = [affine.x, affine.y, affine.z]
    var view = VoxelView(grid: self, first: 0, strides: .zero)
    var start = SIMD3<Double>.zero
    var axes = [SIMD3<Double>](repeating: .zero, count: 3)
    for (axis, target) in orientation.enumerated() {
      view.grid.shape[target.patientAxis] = shape[axis]
      view.strides[target.patientAxis] = target.reversed ? -strides[axis] : strides[axis]
      axes[target.patientAxis] = target.reversed ? -columns[axis] : columns[axis]
      if target.reversed {
        start[axis] = last[axis]
        view.first += strides[axis] &* (shape[axis] - 1)
      }
    }
    view.grid.affine = Affine(x: axes[0], y: axes[1], z: axes[2], origin: affine(start))
    return view
  }
}

/// How voxels of a grid lie in memory: voxel (i, j, k) is element `first + i strides.x + j strides.y + k strides.z`.
struct VoxelView: Sendable {
  var grid: Grid
  var first: Int
  var strides: SIMD3<Int>

  func offset(_ index: SIMD3<Int>) -> Int { first &+ (index &* strides).wrappedSum() }
}
