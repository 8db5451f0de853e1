/// What preparing a lesion leaves for the next one of the same exam: the CT on the PET's grid, and the slices of both
/// that lie on the model's canvas by then. Views are the same bits with and without it.
///
/// An exam with another PET or CT takes the place of the one that is kept.
package final class PreparedExam {
  private struct CT {
    let source: PETFrame.Source
    let warnings: [String]
  }

  private var pet: Volume?
  private var ct: Volume?
  private var outside: Exam.CTOutside?
  private var ctOnPETGrid: CT?
  private var canvas: ModelCanvas?

  package init() {}

  /// Forgets what belongs to another exam.
  func begin(_ exam: Exam) {
    if pet?.storage === exam.pet.storage, ct?.storage === exam.ct.storage, outside == exam.ctOutside { return }
    (pet, ct, outside) = (exam.pet, exam.ct, exam.ctOutside)
    (ctOnPETGrid, canvas) = (nil, nil)
  }

  /// The CT on the PET's grid.
  /// - Parameter make: brings it there and says what is remarkable, which is told again with every lesion.
  func ctOnPETGrid(
    _ warnings: inout [String], _ make: (_ warnings: inout [String]) throws -> PETFrame.Source
  ) throws -> PETFrame.Source {
    if let ctOnPETGrid {
      warnings += ctOnPETGrid.warnings
      return ctOnPETGrid.source
    }
    var found: [String] = []
    let source = try make(&found)
    ctOnPETGrid = CT(source: source, warnings: found)
    warnings += found
    return source
  }

  /// The exam's canvas, empty at first.
  /// - Throws: `PETAR_ERROR_OUT_OF_MEMORY`.
  func canvas(_ model: ModelGrid, _ views: ModelDescription.Views) throws -> ModelCanvas {
    if let canvas, canvas.views == views { return canvas }
    let fresh = try ModelCanvas(model, views)
    canvas = fresh
    return fresh
  }
}

/// PET and CT on the model's canvas, windowed to 0...1. Slices are resampled when they are first wanted.
final class ModelCanvas {
  let views: ModelDescription.Views
  private let model: ModelGrid
  private let pet: Buffer<Float>
  private let ct: Buffer<Float>
  private var isReady: [Bool]

  init(_ model: ModelGrid, _ views: ModelDescription.Views) throws {
    self.model = model
    self.views = views
    let count = model.canvas.x * model.canvas.y * model.canvas.z
    pet = try Buffer(count: count)
    ct = try Buffer(count: count)
    isReady = Array(repeating: false, count: model.canvas.z)
  }

  /// Some slices of the canvas as arrays of their own.
  func arrays(_ slices: ClosedRange<Int>) -> (pet: CanvasArray<Float>, ct: CanvasArray<Float>) {
    let shape = SIMD3(model.canvas.x, model.canvas.y, slices.count)
    return (
      CanvasArray(voxels: pet, firstSlice: slices.lowerBound, shape: shape),
      CanvasArray(voxels: ct, firstSlice: slices.lowerBound, shape: shape)
    )
  }

  /// Fills those of `slices` that are not there yet.
  /// - Parameters:
  ///   - map: from the model's grid to the PET's.
  ///   - headSlices: of the PET's grid, which the head crop drops.
  func fill(
    _ slices: ClosedRange<Int>, _ frame: PETFrame, map: GridMap, headSlices: Int, ctOutside: Float, work: Work,
    progress: (Double) -> Void
  ) throws {
    let missing = slices.filter { !isReady[$0] }
    guard let first = missing.first, let last = missing.last else { return }
    // What is there already is a few runs of slices, what is missing one, as a rule.
    let range = first...last
    let place = model.placement(slices: range)
    func resample(
      _ source: PETFrame.Source, padding: Float, fill: Float, window: ClosedRange<Double>, into buffer: Buffer<Float>
    ) throws {
      let plane = model.canvas.x * model.canvas.y
      (buffer.base + first * plane).update(repeating: padding, count: range.count * plane)
      var view = source.view
      view.grid.shape.z -= headSlices
      _ = try source.visit(
        LinearResampling(
          source: view, slope: source.slope, intercept: source.intercept, map: map, region: place.region, fill: fill,
          target: Target(buffer, first: first * plane + place.first, strides: place.strides), work: work))
      try Self.scale(buffer.base + first * plane, slices: range.count, of: plane, window, work)
    }
    try resample(frame.pet, padding: Released.petPadding, fill: 0, window: views.petWindow, into: pet)
    progress(0.65)
    try resample(frame.ct, padding: Released.ctPadding, fill: ctOutside, window: views.ctWindow, into: ct)
    for slice in range { isReady[slice] = true }
  }

  /// Clips to `window` and scales it to 0...1.
  private static func scale(
    _ base: UnsafeMutablePointer<Float>, slices: Int, of count: Int, _ window: ClosedRange<Double>, _ work: Work
  ) throws {
    let lower = Float(window.lowerBound)
    let upper = Float(window.upperBound)
    let width = upper - lower
    // Where a thread writes is its own.
    nonisolated(unsafe) let base = base
    try work.slices(slices) { slice in
      let voxels = base + slice &* count
      for index in 0..<count { voxels[index] = (min(max(voxels[index], lower), upper) - lower) / width }
    }
  }
}
