import CPetar
import Petar
import Testing

private typealias Phantom = ImagingPhantom

@Suite("Lesions that are small, cut, lost or many") struct ImagingLesionTests {
  private let extent = Phantom.views(16, 64, 64)

  private func refusal(_ exam: Exam) throws -> PetarError {
    try Phantom.failure { _ = try Phantom.prepare(exam, extent) }
  }

  // MARK: Survival

  @Test("A voxel of 1 mm between the voxels of the 3 mm grid survives in the focal view")
  func oneVoxelOnAFineGrid() throws {
    let exam = try Phantom.exam(SIMD3(90, 90, 90), spacing: SIMD3(1, 1, 1), lesion: Phantom.ball(SIMD3(43, 46, 52), 0))
    let result = try Phantom.prepare(exam, extent)
    #expect(result.warns("falls between the voxels"))
    #expect(result.focalMaskVoxels > 0)
  }

  @Test("A lesion between two PET slices is marked on the nearest one")
  func betweenSlices() throws {
    var exam = try Phantom.exam(SIMD3(40, 40, 30), spacing: SIMD3(3, 3, 6), lesion: { _ in 0 })
    // Mask slices of 1 mm: z = 62 mm lies between the PET slices at 60 and 66 mm.
    exam.mask = try Phantom.volume(
      SIMD3(40, 40, 170), Phantom.affine(spacing: SIMD3(3, 3, 1)), .label, Phantom.ball(SIMD3(20, 20, 62), 0))
    let result = try Phantom.prepare(exam, extent)
    #expect(result.warns("no PET voxel's centre lies in it"))
    #expect(result.focalMaskVoxels > 0)
    #expect(result.geometry.text.contains("\"voxels_on_pet_grid\": 1,"))
  }

  @Test("The global view keeps the released result even if the lesion vanishes there")
  func vanishesInTheGlobalView() throws {
    // 50 slices onto 2: no single slice of 3 mm is sure to be sampled.
    let exam = try Phantom.exam(lesion: Phantom.ball(SIMD3(20, 20, 30), 0))
    let result = try Phantom.prepare(exam, Phantom.views(2, 16, 16))
    #expect(result.maskVoxels == 0)
    #expect(result.focalMaskVoxels == 1)
    #expect(result.warns("resizing lost the lesion in the focal view"))
    #expect(result.geometry.text.contains("\"mask_voxels\": 0"))
  }

  // MARK: Lost or cut

  /// Uptake above SUV 5 up to slice 30 of 50 only.
  private func headCropped(_ lesion: @escaping (SIMD3<Int>) -> Float) throws -> Exam {
    try Phantom.exam(pet: { $0.z <= 30 ? 6 : 1 }, lesion: lesion)
  }

  @Test func headCrop() throws {
    #expect(try Phantom.prepare(headCropped(Phantom.ball(SIMD3(20, 18, 20), 2)), extent).warnings.isEmpty)
    let above = try refusal(headCropped(Phantom.ball(SIMD3(20, 18, 40), 2)))
    #expect(above.status == PETAR_ERROR_MASK_OUTSIDE)
    #expect(above.message.contains("head crop"))
    #expect(
      try Phantom.prepare(headCropped(Phantom.ball(SIMD3(20, 18, 30), 2)), extent).warns(
        "the head crop drops 19 slices"))
  }

  @Test("Without PET above SUV 5 the CT's bone tells where the body ends")
  func headCropOnCT() throws {
    var exam = try Phantom.exam(lesion: Phantom.ball(SIMD3(20, 18, 20), 2))
    exam.ct = try Phantom.volume(SIMD3(40, 36, 50), Phantom.affine(spacing: SIMD3(3, 3, 3)), .hu) {
      $0 == SIMD3(20, 18, 41) ? 1001 : -500
    }
    #expect(try Phantom.prepare(exam, extent).geometry.text.contains("\"head_crop_slices\": 8,"))
  }

  @Test func canvas() throws {
    let wide = try refusal(Phantom.exam(SIMD3(230, 40, 10), lesion: Phantom.ball(SIMD3(4, 20, 5), 1)))
    #expect(wide.status == PETAR_ERROR_MASK_OUTSIDE)
    #expect(wide.message.contains("200 x 200"))
    let tall = try refusal(Phantom.exam(SIMD3(20, 20, 380), lesion: Phantom.ball(SIMD3(10, 10, 5), 1)))
    #expect(tall.status == PETAR_ERROR_MASK_OUTSIDE)
    #expect(tall.message.contains("350 slices"))
    let cut = try Phantom.prepare(Phantom.exam(SIMD3(230, 40, 10), lesion: Phantom.ball(SIMD3(15, 20, 5), 2)), extent)
    #expect(cut.warns("lie outside the middle 200 x 200"))
  }

  @Test("Of a lesion taller than the global view the middle is seen, of two far apart nothing")
  func tall() throws {
    let shape = SIMD3(30, 30, 240)
    // Wide at its ends, narrow in the middle: the focal box fits what is seen.
    let result = try Phantom.prepare(
      Phantom.exam(shape) { index in
        let reach = abs(index.z - 120) > 85 ? 8 : 1
        return abs(index.z - 120) <= 100 && abs(index.x - 15) <= reach && index.y == 15 ? 1 : 0
      }, extent)
    #expect(result.warns("spans 201 slices"))
    #expect(result.geometry.text.contains("\"global_slices\": [40, 200]"))
    #expect(result.geometry.text.contains("\"focal_box\": {\"lower\": [-6, -5, 40], \"upper\": [36, 35, 200]"))
    let ends = (Phantom.ball(SIMD3(15, 15, 5), 2), Phantom.ball(SIMD3(15, 15, 230), 2))
    let error = try refusal(Phantom.exam(shape) { ends.0($0) + ends.1($0) })
    #expect(error.status == PETAR_ERROR_MASK_OUTSIDE)
  }

  @Test func outsideThePET() throws {
    var exam = try Phantom.exam(lesion: { _ in 0 })
    func mask(at origin: Double) throws -> Volume {
      try Phantom.volume(
        SIMD3(20, 20, 20), Phantom.affine(spacing: SIMD3(3, 3, 3), origin: SIMD3(origin, 30, 30)), .label,
        Phantom.ball(SIMD3(10, 10, 10), 3))
    }
    exam.mask = try mask(at: 400)
    #expect(try refusal(exam).status == PETAR_ERROR_MASK_OUTSIDE)
    // The PET ends at 117 mm; the lesion's middle lies at 120.
    exam.mask = try mask(at: 90)
    #expect(try Phantom.prepare(exam, extent).warns("lie outside the PET's field of view"))
  }

  @Test("A lesion where the PET is 0 is cut off, and said to be")
  func noUptake() throws {
    let exam = try Phantom.exam(pet: { $0.x < 18 ? 1 : 0 }, lesion: Phantom.ball(SIMD3(20, 18, 20), 4))
    #expect(try Phantom.prepare(exam, extent).warns("where the PET is 0"))
    let far = try Phantom.exam(
      SIMD3(80, 36, 50), pet: { $0.x < 18 ? 1 : 0 }, lesion: Phantom.ball(SIMD3(70, 18, 20), 4))
    #expect(try refusal(far).status == PETAR_ERROR_BAD_VOLUME)
  }

  // MARK: Selection

  @Test func emptyMaskAndLabels() throws {
    let empty = try refusal(Phantom.exam(lesion: { _ in 0 }))
    #expect(empty.status == PETAR_ERROR_EMPTY_MASK)
    func labelled(_ label: Int32) throws -> Exam {
      let (first, second) = (Phantom.ball(SIMD3(10, 10, 10), 2), Phantom.ball(SIMD3(30, 30, 30), 2))
      return try Phantom.exam(label: label) { 2 * first($0) + 5 * second($0) }
    }
    let absent = try refusal(labelled(3))
    #expect(absent.status == PETAR_ERROR_EMPTY_MASK)
    #expect(absent.message.contains("2, 5"))
    #expect(try refusal(labelled(-1)).status == PETAR_ERROR_INVALID_ARGUMENT)
    #expect(try Phantom.prepare(labelled(0), extent).warns("2 labels (2, 5)"))
    let one = try Phantom.prepare(labelled(5), extent)
    #expect(one.warnings.isEmpty)
    #expect(one.geometry.text.contains("\"centroid_mm\": [90, 90, 90]"))
  }

  @Test func allOnes() throws {
    let result = try Phantom.prepare(Phantom.exam(lesion: { _ in 1 }), extent)
    #expect(result.warns("fills 100 %"))
    #expect(result.maskVoxels == extent.extent.count)
  }

  // MARK: PET and CT

  @Test func petThatIsNotSUV() throws {
    let hot = try refusal(Phantom.exam(pet: { $0.x == 5 ? 9000 : 1 }, lesion: Phantom.ball(SIMD3(20, 18, 20), 2)))
    #expect(hot.status == PETAR_ERROR_BAD_UNIT)
    #expect(hot.message.contains("looks like Bq/mL"))
    let mean = try refusal(Phantom.exam(pet: { _ in 60 }, lesion: Phantom.ball(SIMD3(20, 18, 20), 2)))
    #expect(mean.status == PETAR_ERROR_BAD_UNIT)
    let none = try refusal(Phantom.exam(pet: { _ in 0 }, lesion: Phantom.ball(SIMD3(20, 18, 20), 2)))
    #expect(none.status == PETAR_ERROR_BAD_VOLUME)
  }

  @Test("Bq/mL with its factor is the same exam")
  func becquerel() throws {
    let shape = SIMD3(40, 36, 50)
    let suv = try Phantom.exam(pet: { Float($0.x % 7) }, lesion: Phantom.ball(SIMD3(20, 18, 20), 2))
    var becquerel = suv
    becquerel.pet = try Phantom.volume(shape, Phantom.affine(spacing: SIMD3(3, 3, 3)), .bqml, suvFactor: 1 / 4096) {
      Float($0.x % 7) * 4096
    }
    let arrays = try zip(Phantom.prepare(suv, extent).arrays, Phantom.prepare(becquerel, extent).arrays)
    for (a, b) in arrays { #expect(a.elements.elementsEqual(b.elements)) }
  }

  @Test func unitsFitTheRoles() throws {
    let exam = try Phantom.exam(lesion: Phantom.ball(SIMD3(20, 18, 20), 2))
    for wrong in [
      Exam(pet: exam.ct, ct: exam.ct, mask: exam.mask), Exam(pet: exam.pet, ct: exam.pet, mask: exam.mask),
      Exam(pet: exam.pet, ct: exam.ct, mask: exam.ct),
    ] {
      #expect(try refusal(wrong).status == PETAR_ERROR_BAD_UNIT)
    }
  }

  @Test func petAndCTOfDifferentPlaces() throws {
    var exam = try Phantom.exam(lesion: Phantom.ball(SIMD3(20, 18, 20), 2))
    exam.ct = try Phantom.volume(
      SIMD3(10, 10, 10), Phantom.affine(spacing: SIMD3(3, 3, 3), origin: SIMD3(0, 0, -500)), .hu, { _ in -1000 })
    let error = try refusal(exam)
    #expect(error.status == PETAR_ERROR_BAD_GEOMETRY)
    #expect(error.message.contains("do not overlap"))
  }

  @Test func remarkableValues() throws {
    var exam = try Phantom.exam(
      pet: { $0.x == 0 ? -3 : 1 }, lesion: Phantom.ball(SIMD3(20, 18, 20), 2))
    exam.ct = try Phantom.volume(SIMD3(40, 36, 50), Phantom.affine(spacing: SIMD3(3, 3, 3)), .hu, { _ in 24 })
    let result = try Phantom.prepare(exam, extent)
    #expect(result.warns("PET values go down to SUV -3"))
    #expect(result.warns("no CT value lies below -200 HU"))
  }

  @Test(arguments: [SIMD3(2000.0, 2000, 9000), SIMD3(0.003, 0.003, 0.004)])
  func fieldOfViewOfNoScanner(_ spacing: SIMD3<Double>) throws {
    let exam = try Phantom.exam(SIMD3(4, 4, 4), spacing: spacing, lesion: { _ in 1 })
    #expect(try refusal(exam).status == PETAR_ERROR_BAD_GEOMETRY)
  }

  // MARK: The caller

  @Test func cancelAndProgress() throws {
    let exam = try Phantom.exam(lesion: Phantom.ball(SIMD3(20, 18, 20), 2))
    let pool = try ThreadPool(threads: 1)
    let error = try Phantom.failure {
      _ = try prepareViews(exam, extent, pool: pool, isCancelled: { true }, progress: { _ in })
    }
    #expect(error.status == PETAR_CANCELLED)
    var fractions: [Double] = []
    _ = try prepareViews(exam, extent, pool: pool, isCancelled: { false }, progress: { fractions.append($0) })
    #expect(fractions.first == 0)
    #expect(fractions.last == 1)
    #expect(fractions == fractions.sorted())
  }
}
