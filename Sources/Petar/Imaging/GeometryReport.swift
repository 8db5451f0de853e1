/// What was done to the grids, for people and machines. Boxes are given in voxels of the 3 mm grid and in
/// millimetres, in the order right, anterior, superior, both ends included.
struct GeometryReport {
  let exam: Exam
  let lesion: Lesion
  let frame: PETFrame
  let model: ModelFrame
  /// The lesion's box and its margin, before the crop to PET > 0.
  let focalBox: Box
  let global: View
  let focal: View

  var json: JSON {
    .object([
      ("pet", volume(exam.pet, resampled: false)),
      ("ct", volume(exam.ct, resampled: frame.ct.isResampled)),
      ("mask", volume(exam.mask, resampled: frame.maskResampled)),
      ("ct_outside_hu", .number(Double(exam.ctOutside.value))),
      ("head_crop_slices", .integer(model.headSlices)),
      ("grid_mm", .number(Released.spacing)),
      ("grid_shape", integers(grid.shape)),
      ("grid_origin_mm", numbers(grid.affine.origin)),
      (
        "crop",
        .object([
          ("lower", integers(model.model.lower)),
          ("upper", integers(grid.shape &- model.model.lower &- model.model.kept)),
        ])
      ),
      (
        "pad",
        .object([
          ("lower", integers(model.model.padding)),
          ("upper", integers(model.model.canvas &- model.model.padding &- model.model.kept)),
        ])
      ),
      ("global_slices", .integers([gridBox(global: wholeBox).lower.z, gridBox(global: wholeBox).upper.z])),
      ("focal_box", box(focalBox)),
      (
        "views",
        .object([
          ("global", view(global)),
          ("focal", view(focal)),
        ])
      ),
      ("lesion", lesionReport),
    ])
  }

  private var grid: Grid { model.model.grid }

  private var wholeBox: Box { Box(lower: .zero, upper: model.pet.shape &- 1) }

  private func volume(_ volume: Volume, resampled: Bool) -> JSON {
    .object([
      ("shape", integers(volume.grid.shape)),
      ("spacing_mm", numbers(volume.grid.affine.spacing)),
      ("axes", .string(volume.grid.axes)),
      ("data_type", .string("\(volume.type)")),
      ("unit", .string("\(volume.unit)")),
      ("resampled_onto_pet", .bool(resampled)),
    ])
  }

  private var lesionReport: JSON {
    let affine = exam.mask.grid.affine
    return .object([
      ("label", .integer(Int(exam.label))),
      ("voxels", .integer(lesion.count)),
      ("voxels_on_pet_grid", .integer(frame.mask.count)),
      ("volume_ml", .number(Double(lesion.count) * abs(affine.determinant) / 1000)),
      ("volume_share", .number(Double(frame.mask.count) / Double(frame.grid.count))),
      ("centroid_mm", numbers(affine(lesion.centroid))),
    ])
  }

  private func view(_ view: View) -> JSON {
    .object([("box", box(view.box)), ("mask_voxels", .integer(view.maskCount))])
  }

  /// A box of the arrays, whose y and z are mirrored, on the 3 mm grid. Below 0 or beyond the grid lies padding.
  private func gridBox(global box: Box) -> Box {
    let first = SIMD3(0, 0, model.slices.lowerBound)
    let a = model.model.gridIndex(box.lower &+ first)
    let b = model.model.gridIndex(box.upper &+ first)
    return Box(lower: pointwiseMin(a, b), upper: pointwiseMax(a, b))
  }

  private func box(_ box: Box) -> JSON {
    let onGrid = gridBox(global: box)
    return .object([
      ("lower", integers(onGrid.lower)),
      ("upper", integers(onGrid.upper)),
      ("lower_mm", numbers(grid.affine(SIMD3<Double>(onGrid.lower)))),
      ("upper_mm", numbers(grid.affine(SIMD3<Double>(onGrid.upper)))),
    ])
  }

  private func integers(_ values: SIMD3<Int>) -> JSON { .integers([values.x, values.y, values.z]) }
  private func numbers(_ values: SIMD3<Double>) -> JSON { .numbers([values.x, values.y, values.z]) }
}
