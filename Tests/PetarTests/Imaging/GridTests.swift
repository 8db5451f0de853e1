import CPetar
import Foundation
import Petar
import Testing

private typealias Phantom = ImagingPhantom

@Suite("PET and CT with grids of their own") struct ImagingGridTests {
  /// PET of 200 x 200 at 4 mm, CT of 512 x 512 at 1 mm that covers the middle of it: the same result as with a CT and
  /// a mask made on the PET's grid. The CT is linear in space, so that interpolating it is exact but for rounding.
  @Test(arguments: [Exam.CTOutside.released, .air])
  func fullSize(_ outside: Exam.CTOutside) throws {
    let petShape = SIMD3(200, 200, 40)
    let petGrid = Phantom.affine(spacing: SIMD3(4, 4, 4), origin: SIMD3(-400, -400, -80))
    let ctShape = SIMD3(512, 512, 30)
    let ctOrigin = SIMD3(-256.5, -250.25, -74.5)
    let ctSpacing = SIMD3(1.0, 1, 5)
    let ctGrid = Phantom.affine(spacing: ctSpacing, origin: ctOrigin)
    func hounsfield(_ point: SIMD3<Double>) -> Double { point.x / 2 - point.y / 4 + point.z }
    func place(_ index: SIMD3<Int>) -> SIMD3<Double> { SIMD3<Double>(index) * 4 + SIMD3(-400, -400, -80) }
    func ctIndex(_ point: SIMD3<Double>) -> SIMD3<Double> { (point - ctOrigin) / ctSpacing }
    func inCT(_ point: SIMD3<Double>) -> Bool {
      let index = ctIndex(point)
      return all(index .>= .zero) && all(index .<= SIMD3(511, 511, 29))
    }
    let ball = Phantom.ball(SIMD3(300, 260, 14), 12)

    let pet = try Phantom.volume(petShape, petGrid, .suv) { $0.x > 10 ? Float(($0.x + 3 * $0.y) % 16) / 4 : 0 }
    let own = Exam(
      pet: pet,
      ct: try Phantom.volume(ctShape, ctGrid, .hu) { Float(hounsfield(SIMD3<Double>($0) * ctSpacing + ctOrigin)) },
      mask: try Phantom.volume(ctShape, ctGrid, .label, ball), ctOutside: outside)
    let shared = Exam(
      pet: pet,
      ct: try Phantom.volume(petShape, petGrid, .hu) {
        inCT(place($0)) ? Float(hounsfield(place($0))) : outside == .air ? -1000 : 0
      },
      mask: try Phantom.volume(petShape, petGrid, .label) {
        let index = (ctIndex(place($0)) + 0.5).rounded(.down)
        return inCT(place($0)) ? ball(SIMD3<Int>(index)) : 0
      }, ctOutside: outside)

    let extent = Phantom.views(16, 128, 128)
    let result = try Phantom.prepare(own, extent)
    let expected = try Phantom.prepare(shared, extent)
    #expect(result.warns("the CT does not cover"))
    #expect(expected.warnings.isEmpty)
    #expect(result.focalMaskVoxels > 0)
    for (index, (a, b)) in zip(result.arrays, expected.arrays).enumerated() {
      let largest = zip(a.elements, b.elements).reduce(0) { larger($0, abs($1.0 - $1.1)) }
      // CT in f32: 1000 HU are rounded to 6e-5 HU of the 700 HU window.
      #expect(largest <= (index % 3 == 2 ? 1e-6 : 0), "array \(index)")
    }
  }

  /// Too long, too large, and metres taken for millimetres.
  @Test(arguments: [(SIMD3(64, 1, 1), 1e7), (SIMD3(4097, 1, 1), 3), (SIMD3(2, 2, 2), 3000), (SIMD3(9, 9, 9), 0.003)])
  func noScannersFieldOfView(_ shape: SIMD3<Int>, _ edge: Double) throws {
    let exam = try Phantom.exam(shape, spacing: SIMD3(repeating: edge), lesion: { _ in 1 })
    expectFailure(PETAR_ERROR_BAD_GEOMETRY, "mm is not that of a scanner") {
      _ = try Phantom.prepare(exam, Phantom.views(8, 32, 32))
    }
  }

  @Test("Grids that agree to a thousandth of a millimetre are left alone")
  func sameGrid() throws {
    var exam = try Phantom.exam(lesion: Phantom.ball(SIMD3(20, 18, 20), 3))
    let extent = Phantom.views(8, 32, 32)
    let expected = try Phantom.prepare(exam, extent)
    func moved(by shift: Double) throws -> Volume {
      try Phantom.volume(
        SIMD3(40, 36, 50), Phantom.affine(spacing: SIMD3(3, 3, 3), origin: SIMD3(shift, 0, 0)), .hu
      ) {
        $0.x < 2 ? -1000 : 0
      }
    }
    exam.ct = try moved(by: 5e-4)
    let result = try Phantom.prepare(exam, extent)
    for (a, b) in zip(result.arrays, expected.arrays) { #expect(a.elements.elementsEqual(b.elements)) }
    #expect(!result.geometry.text.contains("\"resampled_onto_pet\": true"))
    exam.ct = try moved(by: 5e-3)
    #expect(try Phantom.prepare(exam, extent).geometry.text.contains("\"resampled_onto_pet\": true"))
  }
}

@Suite("Real scans") struct ImagingRealScanTests {
  static let data = ProcessInfo.processInfo.environment["PETAR_TEST_DATA"] ?? "../shared/data"

  static func has(_ path: String) -> Bool { FileManager.default.fileExists(atPath: "\(data)/\(path)") }

  @Test("Corners of the orientation phantom", .enabled(if: has("geometry/orientation_phantom"), "shared data absent"))
  func orientationPhantom() throws {
    let volume = try Volume.read(
      niftiPath: "\(Self.data)/geometry/orientation_phantom/nifti/image/orientation.nii.gz", unit: .hu)
    #expect(volume.grid.shape == SIMD3(32, 48, 64))
    #expect(volume.grid.axes == "LPS")
    for (index, value) in [
      (SIMD3(0, 0, 0), 0.0), (SIMD3(31, 0, 0), 31), (SIMD3(0, 47, 0), 47), (SIMD3(0, 0, 63), 63),
      (SIMD3(31, 47, 63), 141),
    ] {
      #expect(volume.value(at: index) == value)
    }
  }

  /// Voxel counts and SUVmax of the lesions come with the data; mask on its own grid and on the CT's.
  @Test(
    "Soft tissue sarcoma, PET and CT on their own grids", .enabled(if: has("petct_matched"), "shared data absent"),
    arguments: [("STS_001", 5095, 7.9107), ("STS_002", 555, 21.6757)])
  func matchedScans(_ name: String, _ voxels: Int, _ suvMax: Double) throws {
    func volume(_ file: String, _ unit: Volume.Unit) throws -> Volume {
      try .read(niftiPath: "\(Self.data)/petct_matched/\(name)/\(file).nii.gz", unit: unit)
    }
    let exam = Exam(
      pet: try volume("PET_image", .suv), ct: try volume("CT_image", .hu), mask: try volume("PET_mask", .label))
    var highest = 0.0
    let shape = exam.pet.grid.shape
    for k in 0..<shape.z {
      for j in 0..<shape.y {
        for i in 0..<shape.x where exam.mask.value(at: SIMD3(i, j, k)) == 1 {
          highest = max(highest, exam.pet.value(at: SIMD3(i, j, k)) ?? 0)
        }
      }
    }
    #expect(abs(highest - suvMax) < 1e-4)
    let extent = Phantom.views(16, 128, 128)
    let result = try Phantom.prepare(exam, extent)
    #expect(result.geometry.text.contains("\"voxels_on_pet_grid\": \(voxels),"))
    // The CT's mask is the same lesion drawn on a finer grid: the views' masks overlap to more than 90 %.
    let onCT = try Phantom.prepare(Exam(pet: exam.pet, ct: exam.ct, mask: volume("CT_mask", .label)), extent)
    let both = zip(result.arrays[1].elements, onCT.arrays[1].elements).count { $0 == 1 && $1 == 1 }
    #expect(Double(2 * both) > 0.9 * Double(result.maskVoxels + onCT.maskVoxels))
  }
}
