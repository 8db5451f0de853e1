import CPetar

/// The exam on the PET's grid, axes along right, anterior, superior: what the released pipeline starts from.
struct PETFrame {
  /// A volume on the PET's grid: as it was stored, or resampled.
  struct Source {
    private enum Content {
      case stored(Volume)
      case resampled(Buffer<Float>)
    }

    let view: VoxelView
    let slope: Double
    let intercept: Double
    private let content: Content

    fileprivate init(_ volume: Volume) {
      view = volume.grid.canonical
      slope = volume.slope
      intercept = volume.intercept
      content = .stored(volume)
    }

    /// - Parameter values: x fastest.
    fileprivate init(grid: Grid, values: Buffer<Float>) {
      view = VoxelView(grid: grid, first: 0, strides: SIMD3(1, grid.shape.x, grid.shape.x * grid.shape.y))
      slope = 1
      intercept = 0
      content = .resampled(values)
    }

    var isResampled: Bool {
      if case .resampled = content { true } else { false }
    }

    func visit<V: VoxelVisitor>(_ visitor: V) throws -> V.Result {
      switch content {
      case .stored(let volume): try volume.visit(visitor)
      case .resampled(let values): try visitor.visit(Voxels(values))
      }
    }
  }

  let grid: Grid
  let pet: Source
  let ct: Source
  let mask: BinaryMask
  let maskResampled: Bool
  private(set) var warnings: [String] = []

  /// Brings CT (linear) and mask (nearest) onto the PET's grid if they have another one.
  init(_ exam: Exam, lesion: Lesion, shared: PreparedExam, work: Work) throws {
    pet = Source(exam.pet)
    let grid = pet.view.grid
    self.grid = grid
    (mask, maskResampled) = try Self.mask(exam, lesion, grid, work, &warnings)
    ct = try shared.ctOnPETGrid(&warnings) { try Self.ct(exam, grid, work, &$0) }
  }

  private static func ct(_ exam: Exam, _ grid: Grid, _ work: Work, _ warnings: inout [String]) throws -> Source {
    let stored = Source(exam.ct)
    if stored.view.grid.agrees(with: grid, tolerance: Limits.sameGrid) { return stored }
    let target = try Target<Float>(shape: grid.shape)
    let outside = try stored.visit(
      LinearResampling(
        source: stored.view, slope: stored.slope, intercept: stored.intercept,
        map: GridMap(from: grid.affine, to: stored.view.grid.affine), region: Region(lower: .zero, shape: grid.shape),
        fill: exam.ctOutside.value, target: target, work: work))
    guard outside < grid.count else { throw exam.noOverlap }
    if outside > 0 {
      let share = Exam.short(max(100 * Double(outside) / Double(grid.count), 0.01))
      let choice =
        exam.ctOutside == .released
        ? "0 HU as in the released preprocessing; -1000 HU (air) is the alternative"
        : "-1000 HU (air); 0 HU as in the released preprocessing is the alternative"
      warnings.append("the CT does not cover \(share) % of the PET's field of view, which is taken to be \(choice)")
    }
    return Source(grid: grid, values: target.buffer)
  }

  private static func mask(
    _ exam: Exam, _ lesion: Lesion, _ grid: Grid, _ work: Work, _ warnings: inout [String]
  ) throws -> (BinaryMask, resampled: Bool) {
    let view = exam.mask.grid.canonical
    let range = LabelRange(label: exam.label, slope: exam.mask.slope, intercept: exam.mask.intercept)
    let target = try Target<UInt8>(shape: grid.shape)
    let same = view.grid.agrees(with: grid, tolerance: Limits.sameGrid)
    try exam.mask.visit(
      LesionResampling(
        source: view, lesion: range,
        map: GridMap(from: grid.affine, to: same ? grid.affine : view.grid.affine),
        region: Region(lower: .zero, shape: grid.shape), target: target, work: work))
    var mask = BinaryMask(grid: grid, voxels: target.buffer)
    if same { return (mask, false) }

    let toPET = grid.affine.inverse.composed(with: exam.mask.grid.affine)
    var inside = 0
    try exam.mask.forEachVoxel(of: lesion, label: exam.label) {
      if grid.contains(toPET(SIMD3<Double>($0))) { inside += 1 }
    }
    if mask.count == 0 {
      let central = try BinaryMask.central(affine: exam.mask.grid.affine) { body in
        try exam.mask.forEachVoxel(of: lesion, label: exam.label) {
          if grid.contains(toPET(SIMD3<Double>($0))) { body($0) }
        }
      }
      guard let central else {
        throw PetarError(
          PETAR_ERROR_MASK_OUTSIDE,
          "none of the lesion's \(lesion.count) voxels lies in the PET's field of view; check that mask and PET are of "
            + "one examination")
      }
      mask.set(nearestTo: toPET(SIMD3<Double>(central)))
      warnings.append(
        "the lesion is so small that no PET voxel's centre lies in it; the PET voxel nearest to its middle stands for "
          + "it")
    } else if inside < lesion.count {
      warnings.append(
        "\(lesion.count - inside) of the lesion's \(lesion.count) voxels lie outside the PET's field of view and are "
          + "left out")
    }
    return (mask, true)
  }
}
