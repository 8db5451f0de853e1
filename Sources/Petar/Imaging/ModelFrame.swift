import CPetar

/// The exam on the model's 3 mm grid: head cropped, resampled, cut and filled up to the canvas, cut to the slices
/// around the lesion, windowed to 0...1.
struct ModelFrame {
  /// The PET's grid without the slices above the head.
  let source: Grid
  /// PET slices dropped by the head crop.
  let headSlices: Int
  let model: ModelGrid
  /// Slices of the canvas that the global view shows; index 0 of the arrays below is the first of them.
  let slices: ClosedRange<Int>
  let pet: CanvasArray<Float>
  let ct: CanvasArray<Float>
  let mask: CanvasArray<UInt8>
  /// Box around the lesion in these arrays.
  let lesion: Box
  private(set) var warnings: [String] = []

  init(
    _ frame: PETFrame, views: ModelDescription.Views, jitter: ViewJitter, ctOutside: Exam.CTOutside,
    shared: PreparedExam, work: Work, progress: (Double) -> Void
  ) throws {
    let headSlices = try Self.headSlices(frame)
    self.headSlices = headSlices
    var source = frame.grid
    source.shape.z -= headSlices
    self.source = source
    let keptSlices = 0..<source.shape.z
    let left = frame.mask.count(slices: keptSlices)
    if left == 0 {
      throw PetarError(
        PETAR_ERROR_MASK_OUTSIDE,
        "the lesion lies in the \(headSlices) slices that the head crop drops: above them no PET value in the middle of "
          + "the image exceeds SUV \(Exam.short(Released.headSUV)), so the model never sees it")
    }
    if left < frame.mask.count {
      warnings.append(
        "the head crop drops \(headSlices) slices and with them \(frame.mask.count - left) of the lesion's "
          + "\(frame.mask.count) PET voxels")
    }

    model = try ModelGrid(covering: source)
    let map = GridMap(from: model.grid.affine, to: source.affine)
    let whole = try Self.lesion(frame.mask, source, model, map, work, &warnings)
    guard let box = Self.box(of: whole, on: model, &warnings) else { throw Self.lostByCrop(whole, model) }

    let middle = (box.lower.z + box.upper.z) / 2
    let reach = Released.globalReach + jitter.globalReach
    let slices = max(middle - reach, 0)...min(middle + reach, model.canvas.z - 1)
    self.slices = slices
    mask = try Self.place(whole, on: model, slices: slices)
    guard let lesion = mask.bounds(within: Box(lower: .zero, upper: mask.shape &- 1), where: { $0 != 0 }) else {
      throw PetarError(
        PETAR_ERROR_MASK_OUTSIDE,
        "the lesion has parts above and below, but none within \(reach) slices of 3 mm of its middle, "
          + "which is all the model sees; describe the parts one by one")
    }
    self.lesion = lesion
    if box.shape.z > slices.count {
      warnings.append(
        "the lesion spans \(box.shape.z) slices of 3 mm; the model sees the \(slices.count) around its middle")
    }
    progress(0.5)

    let canvas = try shared.canvas(model, views)
    try canvas.fill(
      slices, frame, map: map, headSlices: headSlices, ctOutside: ctOutside.value, work: work, progress: progress)
    (pet, ct) = canvas.arrays(slices)
    progress(0.8)
  }

  private static func headSlices(_ frame: PETFrame) throws -> Int {
    func top(_ source: PETFrame.Source, _ threshold: Double) throws -> Int? {
      try source.visit(
        HeadCrop(view: source.view, slope: source.slope, intercept: source.intercept, threshold: threshold))
    }
    let last = try top(frame.pet, Released.headSUV) ?? top(frame.ct, Released.headHU)
    return last.map { frame.grid.shape.z - 1 - $0 } ?? 0
  }

  /// The lesion on the 3 mm grid, in the part of it that can hold any of it.
  private static func lesion(
    _ mask: BinaryMask, _ source: Grid, _ model: ModelGrid, _ map: GridMap, _ work: Work, _ warnings: inout [String]
  ) throws -> (mask: BinaryMask, lower: SIMD3<Int>) {
    let toModel = model.grid.affine.inverse.composed(with: source.affine)
    var part = Grid(shape: mask.upper &- mask.lower &+ 2, affine: source.affine)
    part.affine.origin = source.affine(SIMD3<Double>(mask.lower) - 0.5)
    let (low, high) = part.bounds(model.grid.affine.inverse.composed(with: part.affine))
    let lower = model.grid.nearestVoxel(to: low.rounded(.down) - 1)
    let upper = model.grid.nearestVoxel(to: high.rounded(.up) + 1)
    let region = Region(lower: lower, shape: upper &- lower &+ 1)
    let target = try Target<UInt8>(shape: region.shape)
    let view = VoxelView(
      grid: source, first: 0, strides: SIMD3(1, source.shape.x, source.shape.x * source.shape.y))
    try LesionResampling(
      source: view, lesion: LabelRange(label: 0), map: map, region: region, target: target, work: work
    ).visit(Voxels(mask.voxels))
    var affine = model.grid.affine
    affine.origin = affine(SIMD3<Double>(lower))
    var result = BinaryMask(grid: Grid(shape: region.shape, affine: affine), voxels: target.buffer)
    if result.count == 0, let central = mask.centralVoxel(slices: 0..<source.shape.z) {
      let nearest = model.grid.nearestVoxel(to: toModel(SIMD3<Double>(central)))
      result.set(nearestTo: SIMD3<Double>(nearest &- lower))
      warnings.append(
        "the lesion falls between the voxels of the model's 3 mm grid; the one nearest to its middle stands for it")
    }
    return (result, lower)
  }

  /// The lesion's voxels that lie on the canvas, as indices of it.
  private static func forEachVoxel(
    of lesion: (mask: BinaryMask, lower: SIMD3<Int>), on model: ModelGrid, _ body: (SIMD3<Int>) -> Void
  ) {
    lesion.mask.forEachVoxel(slices: 0..<lesion.mask.grid.shape.z) { voxel in
      let index = voxel &+ lesion.lower
      guard all(index .>= model.lower), all(index .< model.lower &+ model.kept) else { return }
      body(model.canvasIndex(index))
    }
  }

  /// Where the lesion lies on the canvas. Nil if none of it is there.
  private static func box(
    of lesion: (mask: BinaryMask, lower: SIMD3<Int>), on model: ModelGrid, _ warnings: inout [String]
  ) -> Box? {
    var box = Box(lower: model.canvas, upper: SIMD3(repeating: -1))
    var placed = 0
    forEachVoxel(of: lesion, on: model) { place in
      box.lower = pointwiseMin(box.lower, place)
      box.upper = pointwiseMax(box.upper, place)
      placed += 1
    }
    if placed > 0, placed < lesion.mask.count {
      warnings.append(
        "\(lesion.mask.count - placed) of the lesion's \(lesion.mask.count) voxels of 3 mm lie outside the middle "
          + "\(Released.canvasSide) x \(Released.canvasSide) voxels or the top \(Released.canvasDepth) slices the model "
          + "sees")
    }
    return placed > 0 ? box : nil
  }

  /// The part of the lesion in `slices` of the canvas.
  private static func place(
    _ lesion: (mask: BinaryMask, lower: SIMD3<Int>), on model: ModelGrid, slices: ClosedRange<Int>
  ) throws -> CanvasArray<UInt8> {
    let shape = SIMD3(model.canvas.x, model.canvas.y, slices.count)
    let mask = CanvasArray(voxels: try Buffer<UInt8>(count: shape.x * shape.y * shape.z), shape: shape)
    forEachVoxel(of: lesion, on: model) { place in
      guard slices.contains(place.z) else { return }
      mask.base[mask.offset(place &- SIMD3(0, 0, slices.lowerBound))] = 1
    }
    return mask
  }

  private static func lostByCrop(_ lesion: (mask: BinaryMask, lower: SIMD3<Int>), _ model: ModelGrid) -> PetarError {
    let side = Released.canvasSide
    let crop =
      lesion.lower.z + lesion.mask.upper.z < model.lower.z
      ? "below the top \(Released.canvasDepth) slices" : "outside the middle \(side) x \(side) voxels"
    return PetarError(
      PETAR_ERROR_MASK_OUTSIDE,
      "the lesion lies \(crop) of the 3 mm grid, which are all the model sees; crop the exam around the lesion first")
  }
}
