import CPetar
import Petar
import Testing

/// Volumes and exams made up in memory.
enum ImagingPhantom {
  /// Axis-parallel grid, row by row.
  static func affine(spacing: SIMD3<Double>, origin: SIMD3<Double> = .zero) -> [Double] {
    [spacing.x, 0, 0, origin.x, 0, spacing.y, 0, origin.y, 0, 0, spacing.z, origin.z, 0, 0, 0, 1]
  }

  /// A float32 volume of `value(i, j, k)`.
  static func volume(
    _ shape: SIMD3<Int>, _ affine: [Double], _ unit: Volume.Unit, suvFactor: Double = 1,
    _ value: (SIMD3<Int>) -> Float
  ) throws -> Volume {
    var voxels: [Float] = []
    voxels.reserveCapacity(shape.x * shape.y * shape.z)
    for k in 0..<shape.z {
      for j in 0..<shape.y {
        for i in 0..<shape.x { voxels.append(value(SIMD3(i, j, k))) }
      }
    }
    return try voxels.withUnsafeBytes {
      try Volume(
        voxels: $0, type: .float32, shape: [shape.x, shape.y, shape.z], affine: affine, unit: unit,
        suvFactor: suvFactor)
    }
  }

  /// An exam on one grid of 3 mm: uptake 1 with a hot spot at the top, CT 0 HU in air, and a lesion.
  static func exam(
    _ shape: SIMD3<Int> = SIMD3(40, 36, 50), spacing: SIMD3<Double> = SIMD3(3, 3, 3),
    origin: SIMD3<Double> = .zero, label: Int32 = 0, pet: (SIMD3<Int>) -> Float = { _ in 1 },
    lesion: (SIMD3<Int>) -> Float
  ) throws -> Exam {
    let affine = affine(spacing: spacing, origin: origin)
    return Exam(
      pet: try volume(shape, affine, .suv, pet),
      ct: try volume(shape, affine, .hu) { $0.x < 2 ? -1000 : 0 }, mask: try volume(shape, affine, .label, lesion),
      label: label)
  }

  /// 1 within `radius` voxels of `centre`, else 0.
  static func ball(_ centre: SIMD3<Int>, _ radius: Int) -> (SIMD3<Int>) -> Float {
    { index in
      let difference = index &- centre
      return (difference &* difference).wrappedSum() <= radius * radius ? 1 : 0
    }
  }
}

extension ImagingPhantom {
  /// Prepares an exam on one thread, without a caller who listens.
  static func prepare(_ exam: Exam, _ views: ModelDescription.Views) throws -> Views {
    try prepareViews(exam, views, pool: ThreadPool(threads: 1), isCancelled: { false }, progress: { _ in })
  }

  static func views(_ depth: Int, _ height: Int, _ width: Int) -> ModelDescription.Views {
    var views = ModelDescription.Views()
    views.extent = ModelDescription.Extent(depth, height, width)
    return views
  }

  /// What `body` fails with; the test fails if it does not.
  static func failure(_ body: () throws -> Void) throws -> PetarError {
    try #require(throws: PetarError.self) { try body() }
  }
}

extension Views {
  var maskVoxels: Int { arrays[1].elements.count { $0 == 1 } }
  var focalMaskVoxels: Int { arrays[4].elements.count { $0 == 1 } }

  func warns(_ text: String) -> Bool { warnings.contains { $0.contains(text) } }
}
