import CPetar
import Glibc

/// The values that are the lesion: a label give or take a half, or everything above background.
struct LabelRange: Sendable {
  private let lower: Double
  private let upper: Double
  private let slope: Double
  private let intercept: Double

  /// - Parameter label: 0 for every label above 0.
  init(label: Int32, slope: Double = 1, intercept: Double = 0) {
    lower = label == 0 ? 0.5 : Double(label) - 0.5
    upper = label == 0 ? .infinity : Double(label) + 0.5
    self.slope = slope
    self.intercept = intercept
  }

  func contains<T: Voxel>(_ stored: T) -> Bool {
    let value = stored.number * slope + intercept
    return value > lower && value < upper
  }
}

/// What a label volume holds, and where in it the lesion lies.
struct Lesion {
  /// Labels above 0 that occur, ascending.
  var labels: [Int32] = []
  /// Voxels of the lesion.
  var count = 0
  /// Box around them, in stored voxel indices, both ends included.
  var lower = SIMD3(repeating: Int.max)
  var upper = SIMD3(repeating: -1)
  private var sum = SIMD3<Int>.zero

  /// Mean position of the lesion's voxels, as an index.
  var centroid: SIMD3<Double> {
    SIMD3(Double(sum.x), Double(sum.y), Double(sum.z)) / Double(max(count, 1))
  }

  mutating func add(_ index: SIMD3<Int>) {
    count += 1
    sum &+= index
    lower = pointwiseMin(lower, index)
    upper = pointwiseMax(upper, index)
  }
}

extension Volume {
  /// The distinct labels above 0, ascending.
  /// - Throws: `PETAR_ERROR_BAD_UNIT` for what is no label volume, `PETAR_ERROR_BAD_VOLUME` for values that are not
  ///   whole.
  package func labels() throws -> [Int32] { try lesion(label: 0).labels }

  /// - Parameter label: 0 for every label above 0.
  func lesion(label: Int32) throws -> Lesion {
    guard unit == .label else {
      throw PetarError(PETAR_ERROR_BAD_UNIT, "a volume in \(unit) has no labels; pass the mask with the unit label")
    }
    return try visit(
      LesionScan(grid: grid, range: LabelRange(label: label, slope: slope, intercept: intercept), volume: self))
  }

  /// Calls `body` with the stored index of every voxel of the lesion in the box it is known to lie in.
  func forEachVoxel(of lesion: Lesion, label: Int32, _ body: (SIMD3<Int>) -> Void) throws {
    let range = LabelRange(label: label, slope: slope, intercept: intercept)
    try withoutActuallyEscaping(body) {
      try visit(LesionWalk(grid: grid, range: range, lesion: lesion, body: $0))
    }
  }
}

private struct LesionScan: VoxelVisitor {
  /// Whole numbers this far off are still whole: label maps come as floats, too.
  static let tolerance = 1e-3
  /// More labels than this are an image, not a label map.
  static let mostLabels = 1 << 16

  let grid: Grid
  let range: LabelRange
  let volume: Volume

  func visit<T: Voxel>(_ voxels: Voxels<T>) throws -> Lesion {
    var lesion = Lesion()
    var labels = Set<Int32>()
    // Runs of one number are long in label maps.
    var previous: T?
    var isLesion = false
    var index = 0
    for k in 0..<grid.shape.z {
      for j in 0..<grid.shape.y {
        for i in 0..<grid.shape.x {
          let stored = voxels.base[index]
          index &+= 1
          if stored != previous {
            let label = try whole(stored)
            if label > 0, labels.insert(label).inserted, labels.count > Self.mostLabels {
              throw PetarError(
                PETAR_ERROR_BAD_VOLUME, "the mask has more than \(Self.mostLabels) labels; is it an image?")
            }
            previous = stored
            isLesion = range.contains(stored)
          }
          if isLesion { lesion.add(SIMD3(i, j, k)) }
        }
      }
    }
    lesion.labels = labels.sorted()
    return lesion
  }

  private func whole<T: Voxel>(_ stored: T) throws -> Int32 {
    let value = stored.number * volume.slope + volume.intercept
    guard abs(value - value.rounded()) <= Self.tolerance, let label = Int32(exactly: value.rounded()) else {
      throw PetarError(
        PETAR_ERROR_BAD_VOLUME,
        "the mask holds \(value), and labels are whole numbers that fit 32 bits; threshold it first")
    }
    return label
  }
}

private struct LesionWalk: VoxelVisitor {
  let grid: Grid
  let range: LabelRange
  let lesion: Lesion
  let body: (SIMD3<Int>) -> Void

  func visit<T: Voxel>(_ voxels: Voxels<T>) {
    guard lesion.count > 0 else { return }
    for k in lesion.lower.z...lesion.upper.z {
      for j in lesion.lower.y...lesion.upper.y {
        let row = (k &* grid.shape.y &+ j) &* grid.shape.x
        for i in lesion.lower.x...lesion.upper.x where range.contains(voxels.base[row &+ i]) { body(SIMD3(i, j, k)) }
      }
    }
  }
}
