import CPetar
import Petar
import Testing

private typealias Phantom = ImagingPhantom

@Suite("Volumes") struct ImagingVolumeTests {
  private func volume(
    _ voxels: [Float] = [0, 1, 2, 3, 4, 5, 6, 7], shape: [Int] = [2, 2, 2],
    affine: [Double] = Phantom.affine(spacing: SIMD3(1, 1, 1)), unit: Volume.Unit = .suv, suvFactor: Double = 1,
    slope: Double = 1, intercept: Double = 0
  ) throws -> Volume {
    try voxels.withUnsafeBytes {
      try Volume(
        voxels: $0, type: .float32, shape: shape, affine: affine, unit: unit, suvFactor: suvFactor, slope: slope,
        intercept: intercept)
    }
  }

  @Test func valuesAreScaled() throws {
    let volume = try volume(unit: .bqml, suvFactor: 0.5, slope: 2, intercept: -4)
    #expect(volume.range == -2...5)
    #expect(try self.volume(slope: -1).range == -7...0)
  }

  @Test(arguments: [Float.nan, .infinity, -.infinity])
  func voxelsAreFinite(_ voxel: Float) throws {
    #expect(try Phantom.failure { _ = try volume([0, 1, 2, voxel, 4, 5, 6, 7]) }.status == PETAR_ERROR_BAD_VOLUME)
  }

  @Test(arguments: [
    [2, 2], [2, 2, 3], [0, 2, 4], [-2, -2, 2], [1 << 62, 4, 1], [1 << 16, 1 << 16, 1], [Int.max, Int.max, Int.max],
  ])
  func shapeFitsTheBytes(_ shape: [Int]) throws {
    #expect(try Phantom.failure { _ = try volume(shape: shape) }.status == PETAR_ERROR_BAD_VOLUME)
  }

  /// A row of voxels as long as a billion would need arrays of its length before anything else is known of it.
  @Test(arguments: [[1, 1, 1 << 15], [1 << 31, 1, 1], [1025, 1024, 1024]])
  func moreThanAScannerMakes(_ shape: [Int]) throws {
    expectFailure(PETAR_ERROR_BAD_VOLUME, "along an axis; crop or resample it first") { _ = try volume(shape: shape) }
  }

  @Test(arguments: [
    Phantom.affine(spacing: SIMD3(1, 0, 1)),  // no width
    [1, 1, 0, 0, 1, 1, 0, 0, 0, 0, 1, 0, 0, 0, 0, 1],  // two parallel axes
    Phantom.affine(spacing: SIMD3(1, .nan, 1)), Phantom.affine(spacing: SIMD3(1, 1, 1), origin: SIMD3(.infinity, 0, 0)),
    Phantom.affine(spacing: SIMD3(1, 1, 1e30)), [1, 0, 0, 0, 0, 1, 0, 0, 0, 0, 1, 0, 5, 5, 5, 1],  // transposed
    [1, 0, 0],
  ])
  func affineSaysWhereVoxelsLie(_ affine: [Double]) throws {
    #expect(try Phantom.failure { _ = try volume(affine: affine) }.status == PETAR_ERROR_BAD_GEOMETRY)
  }

  @Test func scalingIsANumber() throws {
    #expect(try Phantom.failure { _ = try volume(slope: .nan) }.status == PETAR_ERROR_BAD_VOLUME)
    #expect(try Phantom.failure { _ = try volume(slope: 0) }.status == PETAR_ERROR_BAD_VOLUME)
    #expect(try Phantom.failure { _ = try volume(slope: 1e300) }.status == PETAR_ERROR_BAD_VOLUME)
    #expect(try Phantom.failure { _ = try volume(unit: .bqml, suvFactor: 0) }.status == PETAR_ERROR_BAD_UNIT)
    #expect(try Phantom.failure { _ = try volume(unit: .bqml, suvFactor: .nan) }.status == PETAR_ERROR_BAD_UNIT)
  }

  @Test func labels() throws {
    #expect(try volume([0, 7, 3, 3, -1, 0, 12.0004, 7], unit: .label).labels() == [3, 7, 12])
    #expect(try volume([0, 0, 0, 0, 0, 0, 0, 0], unit: .label).labels() == [])
    let soft = try Phantom.failure { _ = try volume([0, 0.5, 0, 0, 0, 0, 0, 0], unit: .label).labels() }
    #expect(soft.status == PETAR_ERROR_BAD_VOLUME)
    #expect(soft.message.contains("threshold it first"))
    #expect(
      try Phantom.failure { _ = try volume([0, 0, 0, 0, 0, 0, 0, 3e9], unit: .label).labels() }.status
        == PETAR_ERROR_BAD_VOLUME
    )
    #expect(try Phantom.failure { _ = try volume(unit: .hu).labels() }.status == PETAR_ERROR_BAD_UNIT)
  }
}
