/// The released pipeline's removal of what lies above the body: an empty field of view, or a head holder.
struct HeadCrop: VoxelVisitor {
  let view: VoxelView
  let slope: Double
  let intercept: Double
  /// The topmost slice whose window holds a value above this is the last one kept.
  let threshold: Double

  /// The last slice with a value above the threshold; nil if there is none.
  func visit<T: Voxel>(_ voxels: Voxels<T>) -> Int? {
    let shape = view.grid.shape
    func window(_ extent: Int, _ reach: (before: Int, after: Int)) -> Range<Int> {
      max(extent / 2 - reach.before, 0)..<min(extent / 2 + reach.after, extent)
    }
    let columns = window(shape.x, Released.headWindowX)
    let rows = window(shape.y, Released.headWindowY)
    for slice in (0..<shape.z).reversed() {
      for row in rows {
        for column in columns {
          let stored = voxels.base[view.offset(SIMD3(column, row, slice))]
          if stored.number * slope + intercept > threshold { return slice }
        }
      }
    }
    return nil
  }
}
