/// Voxels along right, anterior, superior: how many, how large (mm), and where the first one's centre lies.
struct PhantomGrid: Sendable, Equatable {
  let shape: SIMD3<Int>
  let spacing: Point
  let origin: Point

  var count: Int { shape.x * shape.y * shape.z }
  var plane: Int { shape.x * shape.y }
  var voxelVolume: Float { spacing.x * spacing.y * spacing.z }

  func place(_ i: Int, _ j: Int, _ k: Int) -> Point { origin + spacing * Point(Float(i), Float(j), Float(k)) }
  func index(_ i: Int, _ j: Int, _ k: Int) -> Int { (k * shape.y + j) * shape.x + i }

  /// The smallest grid of this spacing from `lower` that reaches `upper`.
  init(covering lower: Point, _ upper: Point, spacing: Point) {
    let steps = ((upper - lower) / spacing).rounded(.up)
    shape = SIMD3(Int(steps.x) + 1, Int(steps.y) + 1, Int(steps.z) + 1)
    self.spacing = spacing
    origin = lower
  }

  var last: Point { place(shape.x - 1, shape.y - 1, shape.z - 1) }

  /// The voxels whose centres may lie in a box of world coordinates; nil if there are none.
  func window(_ lower: Point, _ upper: Point) -> (lower: SIMD3<Int>, upper: SIMD3<Int>)? {
    let limit = Point(Float(shape.x - 1), Float(shape.y - 1), Float(shape.z - 1))
    let low = pointwiseMax((lower - origin) / spacing, .zero).rounded(.down)
    let high = pointwiseMin((upper - origin) / spacing, limit).rounded(.up)
    guard low.x <= high.x, low.y <= high.y, low.z <= high.z else { return nil }
    return (
      SIMD3(Int(low.x), Int(low.y), Int(low.z)), SIMD3(Int(high.x), Int(high.y), Int(high.z))
    )
  }

  /// The voxel nearest to a place; nil outside.
  func voxel(_ place: Point) -> SIMD3<Int>? {
    let steps = ((place - origin) / spacing).rounded(.toNearestOrAwayFromZero)
    guard steps.min() >= 0, steps.x < Float(shape.x), steps.y < Float(shape.y), steps.z < Float(shape.z) else {
      return nil
    }
    return SIMD3(Int(steps.x), Int(steps.y), Int(steps.z))
  }
}
