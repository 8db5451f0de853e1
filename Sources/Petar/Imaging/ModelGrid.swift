import CPetar

/// The 3 mm grid of the released pipeline and the canvas cut out of it: 200 x 200 in the middle (filled up where the
/// grid is smaller), at most the top 350 slices.
///
/// The canvas runs z down, y back to front reversed, x as is: index (x, y, z) of the canvas, x fastest.
struct ModelGrid: Sendable {
  let grid: Grid
  /// First voxel of the grid that is kept, how many are, and how many of padding come before them.
  let lower: SIMD3<Int>
  let kept: SIMD3<Int>
  let padding: SIMD3<Int>

  /// nilearn's rule for a 3 x 3 target affine: from the lowest corner voxel centre on, shape rounded up.
  /// - Throws: `PETAR_ERROR_BAD_GEOMETRY` for a field of view no scanner has.
  init(covering source: Grid) throws {
    let edge = Released.spacing
    // numpy inverts diag(3, 3, 3) and multiplies, so 1/3 is rounded first.
    let shrink = Affine(
      x: SIMD3(1 / edge, 0, 0), y: SIMD3(0, 1 / edge, 0), z: SIMD3(0, 0, 1 / edge), origin: .zero)
    let (low, high) = source.bounds(shrink.composed(with: source.affine))
    let extent = (high - low).rounded(.up)
    // At least one axis must reach beyond a voxel of the model: metres taken for millimetres do not.
    guard extent.max() > 1, extent.max() < Double(Limits.gridExtent), case let shape = SIMD3<Int>(extent) &+ 1,
      shape.x * shape.y * shape.z <= Limits.gridVoxels
    else {
      let size = (high - low) * edge
      throw PetarError(
        PETAR_ERROR_BAD_GEOMETRY,
        "a PET field of view of \(Exam.short(size.x)) x \(Exam.short(size.y)) x \(Exam.short(size.z)) mm is not that of "
          + "a scanner; correct the affine")
    }
    grid = Grid(
      shape: shape,
      affine: Affine(x: SIMD3(edge, 0, 0), y: SIMD3(0, edge, 0), z: SIMD3(0, 0, edge), origin: low * edge))
    let side = Released.canvasSide
    kept = SIMD3(min(shape.x, side), min(shape.y, side), min(shape.z, Released.canvasDepth))
    lower = SIMD3((shape.x - kept.x) / 2, (shape.y - kept.y) / 2, shape.z - kept.z)
    padding = SIMD3((side - kept.x) / 2, (side - kept.y) / 2, 0)
  }

  /// Extents of the canvas.
  var canvas: SIMD3<Int> { SIMD3(Released.canvasSide, Released.canvasSide, kept.z) }

  /// The voxel of the canvas that shows voxel `index` of the grid, and the other way round: y and z are mirrored.
  func canvasIndex(_ index: SIMD3<Int>) -> SIMD3<Int> { mirrored(index &- lower &+ padding) }
  func gridIndex(_ index: SIMD3<Int>) -> SIMD3<Int> { mirrored(index) &- padding &+ lower }

  private func mirrored(_ index: SIMD3<Int>) -> SIMD3<Int> {
    SIMD3(index.x, canvas.y - 1 - index.y, canvas.z - 1 - index.z)
  }

  /// Where the kept voxels of `slices` of the canvas come from in the grid, and where they go in a buffer that holds
  /// these slices only.
  func placement(slices: ClosedRange<Int>) -> (region: Region, first: Int, strides: SIMD3<Int>) {
    let start = gridIndex(SIMD3(padding.x, canvas.y - 1 - padding.y, slices.upperBound))
    let plane = canvas.x * canvas.y
    return (
      Region(lower: start, shape: SIMD3(kept.x, kept.y, slices.count)),
      (slices.count - 1) * plane + (canvas.y - 1 - padding.y) * canvas.x + padding.x, SIMD3(1, -canvas.x, -plane)
    )
  }
}
