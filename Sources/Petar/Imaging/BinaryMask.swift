/// The lesion on a grid with axes along right, anterior, superior: 1 where it is, x fastest.
struct BinaryMask: Sendable {
  let grid: Grid
  let voxels: Buffer<UInt8>
  /// Voxels that are 1.
  private(set) var count = 0
  /// Box around them, both ends included.
  private(set) var lower = SIMD3(repeating: Int.max)
  private(set) var upper = SIMD3(repeating: -1)

  /// - Parameter voxels: as many as the grid has.
  init(grid: Grid, voxels: Buffer<UInt8>) {
    self.grid = grid
    self.voxels = voxels
    var index = 0
    for k in 0..<grid.shape.z {
      for j in 0..<grid.shape.y {
        for i in 0..<grid.shape.x {
          if voxels.base[index] != 0 { include(SIMD3(i, j, k)) }
          index &+= 1
        }
      }
    }
  }

  private mutating func include(_ index: SIMD3<Int>) {
    count += 1
    lower = pointwiseMin(lower, index)
    upper = pointwiseMax(upper, index)
  }

  func offset(_ index: SIMD3<Int>) -> Int { (index.z &* grid.shape.y &+ index.y) &* grid.shape.x &+ index.x }

  /// Makes a voxel part of the lesion; an index beyond the grid means its outermost voxel.
  mutating func set(nearestTo index: SIMD3<Double>) {
    let voxel = grid.nearestVoxel(to: index)
    let place = offset(voxel)
    if voxels.base[place] == 0 {
      voxels.base[place] = 1
      include(voxel)
    }
  }

  /// Calls `body` for every voxel of the lesion at or above `floor` and below `ceiling` along z.
  func forEachVoxel(slices: Range<Int>, _ body: (SIMD3<Int>) -> Void) {
    guard count > 0 else { return }
    let slices = slices.clamped(to: lower.z..<(upper.z + 1))
    for k in slices {
      for j in lower.y...upper.y {
        for i in lower.x...upper.x where voxels.base[offset(SIMD3(i, j, k))] != 0 { body(SIMD3(i, j, k)) }
      }
    }
  }

  /// Voxels of the lesion in `slices`.
  func count(slices: Range<Int>) -> Int {
    var result = 0
    forEachVoxel(slices: slices) { _ in result += 1 }
    return result
  }

  /// The voxel of the lesion that is closest to its centroid, in millimetres.
  func centralVoxel(slices: Range<Int>) -> SIMD3<Int>? {
    Self.central(affine: grid.affine) { forEachVoxel(slices: slices, $0) }
  }

  /// - Parameter forEach: calls its argument with the same indices each time.
  static func central(
    affine: Affine, _ forEach: ((SIMD3<Int>) -> Void) throws -> Void
  ) rethrows -> SIMD3<Int>? {
    var sum = SIMD3<Double>.zero
    var count = 0
    try forEach {
      sum += affine(SIMD3<Double>($0))
      count += 1
    }
    guard count > 0 else { return nil }
    let centroid = sum / Double(count)
    var best: (index: SIMD3<Int>, distance: Double)?
    try forEach {
      let difference = affine(SIMD3<Double>($0)) - centroid
      let distance = (difference * difference).sum()
      if distance < best?.distance ?? .infinity { best = ($0, distance) }
    }
    return best?.index
  }
}

extension Grid {
  /// The voxel whose centre is nearest to a fractional index, within the grid.
  func nearestVoxel(to index: SIMD3<Double>) -> SIMD3<Int> {
    let inside = index.clamped(lowerBound: .zero, upperBound: last).rounded(.toNearestOrAwayFromZero)
    return SIMD3<Int>(inside)
  }

  /// Whether a fractional index lies within a voxel of the grid.
  func contains(_ index: SIMD3<Double>) -> Bool {
    all(index .>= SIMD3(repeating: -0.5)) && all(index .<= last + 0.5)
  }
}
