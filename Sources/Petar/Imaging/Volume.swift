import CPetar
import Glibc

/// An image in the data type it was stored in, with all that is needed to know what its numbers mean.
///
/// A value is `stored * slope + intercept`, for PET in Bq/mL times the SUV factor. Voxels are never converted as a
/// whole: a CT of 512 x 512 x 700 int16 stays 367 MB.
package struct Volume: Sendable {
  /// What the values are. Raw values are those of `petar_unit`.
  package enum Unit: Int32, Sendable {
    case suv = 1
    case bqml = 2
    case hu = 3
    case label = 4
  }

  /// Most voxels a volume may have, 1024 x 1024 x 1024, and most along an axis, NIfTI-1's own limit: beyond any scanner,
  /// and small enough for every index computation and for the memory that goes with a volume.
  package static let voxelLimit = 1 << 30
  package static let extentLimit = 32767

  package let type: VoxelType
  package let grid: Grid
  package let unit: Unit
  /// Value = stored * slope + intercept; the SUV factor of Bq/mL is already in both.
  package let slope: Double
  package let intercept: Double
  /// The smallest and the largest value.
  package let range: ClosedRange<Double>
  /// The mean of the values above 0; 0 where there are none, and for what is no PET.
  let meanUptake: Double
  let storage: Buffer<UInt8>

  /// Copies `voxels`: native byte order, first axis fastest.
  /// - Parameters:
  ///   - affine: 4 x 4, row by row, voxel index to millimetres (RAS).
  ///   - suvFactor: SUV = value * suvFactor; used for `.bqml` only.
  /// - Throws: `PETAR_ERROR_BAD_VOLUME`, `PETAR_ERROR_BAD_GEOMETRY`, `PETAR_ERROR_BAD_UNIT`,
  ///   `PETAR_ERROR_OUT_OF_MEMORY`.
  package init(
    voxels: UnsafeRawBufferPointer, type: VoxelType, shape: [Int], affine: [Double], unit: Unit,
    suvFactor: Double = 1, slope: Double = 1, intercept: Double = 0
  ) throws {
    let extent = try Self.validated(shape: shape, source: "volume")
    let grid = Grid(shape: extent, affine: try Affine(rows: affine))
    guard voxels.count == grid.count * type.size else {
      throw PetarError(
        PETAR_ERROR_BAD_VOLUME,
        "\(voxels.count) bytes were given for \(extent.x) x \(extent.y) x \(extent.z) voxels of \(type), which take "
          + "\(grid.count * type.size)")
    }
    let storage = try Buffer<UInt8>(count: voxels.count)
    if let base = voxels.baseAddress { memcpy(storage.base, base, voxels.count) }
    try self.init(
      storage: storage, type: type, grid: grid, unit: unit, suvFactor: suvFactor, slope: slope, intercept: intercept,
      source: "volume")
  }

  /// Takes `storage` over.
  init(
    storage: Buffer<UInt8>, type: VoxelType, grid: Grid, unit: Unit, suvFactor: Double, slope: Double,
    intercept: Double, source: String
  ) throws {
    guard slope.isFinite, intercept.isFinite, slope != 0 else {
      throw PetarError(
        PETAR_ERROR_BAD_VOLUME,
        "\(source): slope \(slope) and intercept \(intercept) do not turn stored numbers into values; correct the "
          + "header")
    }
    guard unit != .bqml || (suvFactor.isFinite && suvFactor > 0) else {
      throw PetarError(
        PETAR_ERROR_BAD_UNIT,
        "\(source): PET in Bq/mL needs the factor that turns it into SUV (body weight in g / decay-corrected injected "
          + "dose in Bq), a number above 0; it is \(suvFactor)")
    }
    let factor = unit == .bqml ? suvFactor : 1
    self.storage = storage
    self.type = type
    self.grid = grid
    self.unit = unit
    self.slope = slope * factor
    self.intercept = intercept * factor
    guard let stored = try type.visit(storage, StoredRange()) else {
      throw PetarError(
        PETAR_ERROR_BAD_VOLUME,
        "\(source): some voxels are NaN or infinite; replace them by what they stand for (0 outside a PET, -1000 "
          + "outside a CT)")
    }
    let ends = [stored.lowerBound * self.slope + self.intercept, stored.upperBound * self.slope + self.intercept]
    // Values travel as f32 later on.
    guard ends.allSatisfy({ abs($0) <= Double(Float.greatestFiniteMagnitude) }) else {
      throw PetarError(
        PETAR_ERROR_BAD_VOLUME,
        "\(source): values run from \(min(ends[0], ends[1])) to \(max(ends[0], ends[1])), which is no image; correct "
          + "slope and intercept")
    }
    self.range = min(ends[0], ends[1])...max(ends[0], ends[1])
    meanUptake =
      unit == .suv || unit == .bqml
      ? try type.visit(storage, PositiveMean(slope: self.slope, intercept: self.intercept)) : 0
  }

  /// Three positive extents within `extentLimit` whose product stays within `voxelLimit`.
  static func validated(shape: [Int], source: String) throws -> SIMD3<Int> {
    let text = shape.map(String.init).joined(separator: " x ")
    guard shape.count == 3, shape.allSatisfy({ $0 > 0 }) else {
      throw PetarError(
        PETAR_ERROR_BAD_VOLUME, "\(source): a shape of \(text) is not three extents above 0; give one 3-D frame")
    }
    guard shape.allSatisfy({ $0 <= extentLimit }), shape[0] * shape[1] * shape[2] <= voxelLimit else {
      throw PetarError(
        PETAR_ERROR_BAD_VOLUME,
        "\(source): \(text) voxels are more than \(voxelLimit), or \(extentLimit) along an axis; crop or resample it "
          + "first")
    }
    return SIMD3(shape[0], shape[1], shape[2])
  }

  /// The value of a voxel, by its stored index; nil outside the volume.
  package func value(at index: SIMD3<Int>) -> Double? {
    guard all(index .>= .zero), all(index .< grid.shape) else { return nil }
    let offset = (index.z * grid.shape.y + index.y) * grid.shape.x + index.x
    return (try? visit(StoredNumber(offset: offset))).map { $0 * slope + intercept }
  }

  func visit<V: VoxelVisitor>(_ visitor: V) throws -> V.Result { try type.visit(storage, visitor) }
}

extension Volume.Unit: CustomStringConvertible {
  package var description: String {
    switch self {
    case .suv: "SUV"
    case .bqml: "Bq/mL"
    case .hu: "HU"
    case .label: "label"
    }
  }
}

/// The smallest and the largest stored number; nil if one is NaN or infinite.
private struct StoredRange: VoxelVisitor {
  func visit<T: Voxel>(_ voxels: Voxels<T>) -> ClosedRange<Double>? {
    var low = voxels.base[0]
    var high = low
    var finite = true
    for index in 0..<voxels.count {
      let voxel = voxels.base[index]
      low = voxel < low ? voxel : low
      high = voxel > high ? voxel : high
      finite = finite && voxel.isFiniteNumber
    }
    return finite ? low.number...high.number : nil
  }
}

private struct PositiveMean: VoxelVisitor {
  let slope: Double
  let intercept: Double

  func visit<T: Voxel>(_ voxels: Voxels<T>) -> Double {
    var sum = 0.0
    var count = 0
    for index in 0..<voxels.count {
      let value = voxels.base[index].number * slope + intercept
      if value > 0 {
        sum += value
        count &+= 1
      }
    }
    return count > 0 ? sum / Double(count) : 0
  }
}

private struct StoredNumber: VoxelVisitor {
  let offset: Int

  func visit<T: Voxel>(_ voxels: Voxels<T>) -> Double { voxels.base[offset].number }
}
