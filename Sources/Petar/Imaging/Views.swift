import CPetar

/// The six arrays the network sees, each of the view's extent (z, y, x; x fastest), and how they came about.
package struct Views: Sendable {
  /// PET and CT run from 0 to 1, the mask holds 0 and 1.
  package struct Arrays: Sendable {
    package let pet: Buffer<Float>
    package let mask: Buffer<Float>
    package let ct: Buffer<Float>

    package init(pet: Buffer<Float>, mask: Buffer<Float>, ct: Buffer<Float>) {
      self.pet = pet
      self.mask = mask
      self.ct = ct
    }
  }

  package let extent: ModelDescription.Extent
  package let global: Arrays
  package let focal: Arrays
  /// What was done to the grids.
  package let geometry: JSON
  package let warnings: [String]

  package init(
    extent: ModelDescription.Extent, global: Arrays, focal: Arrays, geometry: JSON = .null, warnings: [String] = []
  ) {
    self.extent = extent
    self.global = global
    self.focal = focal
    self.geometry = geometry
    self.warnings = warnings
  }

  /// In the order of `petar_view_array`.
  package var arrays: [Buffer<Float>] { [global.pet, global.mask, global.ct, focal.pet, focal.mask, focal.ct] }
}

/// Prepares an exam as the released PETAR-4B inference script does.
///
/// Steps: axes to RAS, CT and mask onto the PET's grid if they have another one, head crop, 3 mm, canvas of 200 x 200,
/// window, slices around the lesion, box around it, crop to PET > 0, resize.
/// - Parameters:
///   - jitter: for training.
///   - shared: given with every lesion of an exam, it spares all but the first most of the work.
///   - isCancelled: asked every few slices.
///   - progress: called with 0...1, growing.
/// - Throws: `PETAR_ERROR_BAD_UNIT`, `PETAR_ERROR_BAD_VOLUME`, `PETAR_ERROR_BAD_GEOMETRY`, `PETAR_ERROR_EMPTY_MASK`,
///   `PETAR_ERROR_MASK_OUTSIDE`, `PETAR_ERROR_OUT_OF_MEMORY`, `PETAR_CANCELLED`.
package func prepareViews(
  _ exam: Exam, _ views: ModelDescription.Views, jitter: ViewJitter = .none,
  shared: PreparedExam = PreparedExam(), pool: ThreadPool, isCancelled: () -> Bool, progress: (Double) -> Void
) throws -> Views {
  try withoutActuallyEscaping(isCancelled) { isCancelled in
    let work = Work(pool: pool, isCancelled: isCancelled)
    progress(0)
    var warnings = try exam.check()
    let lesion = try exam.selectLesion(&warnings)
    progress(0.1)
    shared.begin(exam)
    let frame = try PETFrame(exam, lesion: lesion, shared: shared, work: work)
    progress(0.4)
    let model = try ModelFrame(
      frame, views: views, jitter: jitter, ctOutside: exam.ctOutside, shared: shared, work: work, progress: progress)
    warnings += frame.warnings + model.warnings

    let resize = ViewResize(extent: views.extent, work: work)
    let whole = Box(lower: .zero, upper: model.pet.shape &- 1)
    let global = try View(of: whole, model, resize, keepLesion: false, &warnings)
    progress(0.9)
    let box = jitter.focalBox(around: model.lesion, within: model.pet.shape)
    let focal = try View(of: box, model, resize, keepLesion: true, &warnings)
    let report = GeometryReport(
      exam: exam, lesion: lesion, frame: frame, model: model, focalBox: box, global: global, focal: focal)
    progress(1)
    return Views(
      extent: views.extent, global: global.arrays, focal: focal.arrays, geometry: report.json, warnings: warnings)
  }
}

/// One view: what was cut out of the canvas, and the three arrays made of it.
struct View {
  /// The box with PET > 0 that was resized.
  let box: Box
  let arrays: Views.Arrays
  /// Voxels of the lesion in the view.
  let maskCount: Int

  /// - Parameter keepLesion: mark the lesion's middle if resizing loses it.
  init(
    of part: Box, _ model: ModelFrame, _ resize: ViewResize, keepLesion: Bool, _ warnings: inout [String]
  ) throws {
    let name = keepLesion ? "focal" : "global"
    guard let box = model.pet.bounds(within: part, where: { $0 > 0 }) else {
      throw PetarError(
        PETAR_ERROR_BAD_VOLUME,
        "no PET voxel of the \(name) view is above 0: there is no uptake around the lesion; check that PET and mask "
          + "belong together")
    }
    self.box = box
    let before = model.mask.count(within: part)
    let after = model.mask.count(within: box)
    if after < before {
      warnings.append(
        "\(before - after) of the lesion's \(before) voxels of 3 mm lie where the PET is 0 and are cut off in the "
          + "\(name) view")
    }
    let pet = try resize.linear(model.pet, box)
    var (mask, count) = try resize.nearest(model.mask, box)
    let ct = try resize.linear(model.ct, box)
    if count == 0, keepLesion, let central = model.centralVoxel(preferring: box) {
      mask.base[resize.element(showing: central, of: box)] = 1
      count = 1
      warnings.append("resizing lost the lesion in the focal view; the voxel nearest to its middle stands for it")
    }
    arrays = Views.Arrays(pet: pet, mask: mask, ct: ct)
    maskCount = count
  }
}

extension ModelFrame {
  /// The lesion's voxel closest to its centroid, taken among those in `box` if there are any.
  fileprivate func centralVoxel(preferring box: Box) -> SIMD3<Int>? {
    func walk(_ part: Box, _ body: (SIMD3<Int>) -> Void) {
      for z in part.lower.z...part.upper.z {
        for y in part.lower.y...part.upper.y {
          for x in part.lower.x...part.upper.x where mask.base[mask.offset(SIMD3(x, y, z))] != 0 {
            body(SIMD3(x, y, z))
          }
        }
      }
    }
    return BinaryMask.central(affine: model.grid.affine) { walk(box, $0) }
      ?? BinaryMask.central(affine: model.grid.affine) { walk(lesion, $0) }
  }
}

extension Exam {
  /// Finds the lesion in the mask.
  /// - Throws: `PETAR_ERROR_EMPTY_MASK`.
  func selectLesion(_ warnings: inout [String]) throws -> Lesion {
    let lesion = try mask.lesion(label: label)
    let most = 20
    let labels =
      lesion.labels.prefix(most).map(String.init).joined(separator: ", ") + (lesion.labels.count > most ? ", ..." : "")
    guard lesion.count > 0 else {
      throw PetarError(
        PETAR_ERROR_EMPTY_MASK,
        lesion.labels.isEmpty
          ? "the mask is empty: no voxel is above 0" : "the mask has no label \(label); it has \(labels)")
    }
    if label == 0, lesion.labels.count > 1 {
      warnings.append(
        "the mask has \(lesion.labels.count) labels (\(labels)); all of them together are taken for one lesion")
    }
    let share = Double(lesion.count) / Double(mask.grid.count)
    if share > Limits.usualShare {
      warnings.append(
        "the lesion fills \(Self.short(100 * share)) % of the mask's volume; lesions fill 0.01 to 2 % as a rule")
    }
    return lesion
  }
}
