import CPetar
import Glibc

/// Threads to work on, and the caller's wish to stop.
struct Work {
  let pool: ThreadPool
  let isCancelled: () -> Bool

  /// Calls `body` once for each slice, some at a time.
  /// - Throws: `PETAR_CANCELLED`.
  func slices(_ count: Int, _ body: @Sendable (Int) -> Void) throws {
    let batch = pool.threads * 8
    for start in stride(from: 0, to: count, by: batch) {
      if isCancelled() { throw PetarError(PETAR_CANCELLED, "cancelled while the exam was prepared") }
      pool.run(min(batch, count - start)) { part in body(start + part) }
    }
  }
}

/// From the voxels of one grid to those of another, in the arithmetic of nilearn's `resample_img` over scipy's
/// `affine_transform`: whether a voxel on the edge of the source counts as inside hangs on the last bit.
enum GridMap: Sendable {
  /// Source index = (index + shift) * zoom, axis by axis.
  case zoom(SIMD3<Double>, shift: SIMD3<Double>)
  case affine(Affine)

  init(from target: Affine, to source: Affine) {
    if target == source {
      self = .zoom(SIMD3(repeating: 1), shift: .zero)
      return
    }
    let map = source.inverse.composed(with: target)
    let zoom = SIMD3(map.x.x, map.y.y, map.z.z)
    let parallel =
      map.x == SIMD3(zoom.x, 0, 0) && map.y == SIMD3(0, zoom.y, 0) && map.z == SIMD3(0, 0, zoom.z)
    self = parallel ? .zoom(zoom, shift: map.origin / zoom) : .affine(map)
  }
}

/// A box of voxels: the first, and how many along each axis.
struct Region: Sendable {
  var lower: SIMD3<Int>
  var shape: SIMD3<Int>
}

/// Where the voxels of a region go: voxel (i, j, k) of it to element `first + i strides.x + j strides.y +
/// k strides.z`.
struct Target<Element: BitwiseCopyable>: Sendable {
  let buffer: Buffer<Element>
  let first: Int
  let strides: SIMD3<Int>

  init(_ buffer: Buffer<Element>, first: Int, strides: SIMD3<Int>) {
    self.buffer = buffer
    self.first = first
    self.strides = strides
  }

  /// A buffer of its own for a box of `shape`, x fastest.
  init(shape: SIMD3<Int>) throws {
    self.init(
      try Buffer(count: shape.x * shape.y * shape.z), first: 0, strides: SIMD3(1, shape.x, shape.x * shape.y))
  }
}

/// The two source voxels around a coordinate on one axis and their weights.
private struct Tap: Sendable {
  /// Element offsets.
  var lower = 0
  var upper = 0
  var lowerWeight = 0.0
  var upperWeight = 0.0
  /// False where scipy's mode "constant" takes the fill value: beyond the centres of the outer voxels.
  var inside = false

  init(_ coordinate: Double, count: Int, stride: Int) {
    guard coordinate >= 0, coordinate <= Double(count - 1) else { return }
    let floor = coordinate.rounded(.down)
    let index = Int(floor)
    inside = true
    lowerWeight = 1 - (coordinate - floor)
    upperWeight = 1 - lowerWeight
    lower = index &* stride
    upper = min(index &+ 1, count - 1) &* stride
  }
}

/// The source voxel next to a coordinate, as an element offset; nil outside.
private func nearestOffset(_ coordinate: Double, count: Int, stride: Int) -> Int? {
  guard coordinate >= 0, coordinate <= Double(count - 1) else { return nil }
  return min(Int((coordinate + 0.5).rounded(.down)), count - 1) &* stride
}

/// Trilinear values of a source at the voxels of `region`. The result counts voxels outside the source.
struct LinearResampling: VoxelVisitor {
  let source: VoxelView
  let slope: Double
  let intercept: Double
  let map: GridMap
  let region: Region
  let fill: Float
  let target: Target<Float>
  let work: Work

  func visit<T: Voxel>(_ voxels: Voxels<T>) throws -> Int {
    let outside = try Buffer<Int>(count: region.shape.z)
    switch map {
    case .zoom(let zoom, let shift):
      let taps = (0..<3).map { axis in
        (0..<region.shape[axis]).map { step in
          Tap(
            (Double(region.lower[axis] + step) + shift[axis]) * zoom[axis], count: source.grid.shape[axis],
            stride: source.strides[axis])
        }
      }
      try parallel(voxels, taps, outside)
    case .affine(let affine):
      try oblique(voxels, affine, outside)
    }
    return outside.elements.reduce(0, +)
  }

  private func parallel<T: Voxel>(_ voxels: Voxels<T>, _ taps: [[Tap]], _ outside: Buffer<Int>) throws {
    let (target, fill, slope, intercept, columns) = (target, fill, slope, intercept, region.shape.x)
    let rows = region.shape.y
    let base = voxels.advanced(by: source.first)
    try work.slices(region.shape.z) { slice in
      let z = taps[2][slice]
      var missed = 0
      for row in 0..<rows {
        let y = taps[1][row]
        let start = target.first &+ row &* target.strides.y &+ slice &* target.strides.z
        let corner = base.base
        func value(_ offset: Int) -> Double { corner[offset].number * slope + intercept }
        let (a, b, c, d) = (z.lower &+ y.lower, z.lower &+ y.upper, z.upper &+ y.lower, z.upper &+ y.upper)
        let weightA = z.lowerWeight * y.lowerWeight
        let weightB = z.lowerWeight * y.upperWeight
        let weightC = z.upperWeight * y.lowerWeight
        let weightD = z.upperWeight * y.upperWeight
        for column in 0..<columns {
          let x = taps[0][column]
          let place = start &+ column &* target.strides.x
          guard x.inside, y.inside, z.inside else {
            target.buffer.base[place] = fill
            missed &+= 1
            continue
          }
          let lower =
            value(a &+ x.lower) * weightA + value(b &+ x.lower) * weightB + value(c &+ x.lower) * weightC
            + value(d &+ x.lower) * weightD
          let upper =
            value(a &+ x.upper) * weightA + value(b &+ x.upper) * weightB + value(c &+ x.upper) * weightC
            + value(d &+ x.upper) * weightD
          target.buffer.base[place] = Float(lower * x.lowerWeight + upper * x.upperWeight)
        }
      }
      outside.base[slice] = missed
    }
  }

  private func oblique<T: Voxel>(_ voxels: Voxels<T>, _ map: Affine, _ outside: Buffer<Int>) throws {
    let (target, fill, slope, intercept, region, source) = (target, fill, slope, intercept, region, source)
    let base = voxels.advanced(by: source.first)
    try work.slices(region.shape.z) { slice in
      var missed = 0
      for row in 0..<region.shape.y {
        for column in 0..<region.shape.x {
          let place =
            target.first &+ column &* target.strides.x &+ row &* target.strides.y &+ slice &* target.strides.z
          let point = map.scipy(region.lower &+ SIMD3(column, row, slice))
          let x = Tap(point.x, count: source.grid.shape.x, stride: source.strides.x)
          let y = Tap(point.y, count: source.grid.shape.y, stride: source.strides.y)
          let z = Tap(point.z, count: source.grid.shape.z, stride: source.strides.z)
          guard x.inside, y.inside, z.inside else {
            target.buffer.base[place] = fill
            missed &+= 1
            continue
          }
          func line(_ offset: Int) -> Double {
            (base.base[offset &+ x.lower].number * slope + intercept) * x.lowerWeight
              + (base.base[offset &+ x.upper].number * slope + intercept) * x.upperWeight
          }
          let lower = line(z.lower &+ y.lower) * y.lowerWeight + line(z.lower &+ y.upper) * y.upperWeight
          let upper = line(z.upper &+ y.lower) * y.lowerWeight + line(z.upper &+ y.upper) * y.upperWeight
          target.buffer.base[place] = Float(lower * z.lowerWeight + upper * z.upperWeight)
        }
      }
      outside.base[slice] = missed
    }
  }
}

/// 1 where the nearest source voxel has a value within `lesion`, else 0.
struct LesionResampling: VoxelVisitor {
  let source: VoxelView
  let lesion: LabelRange
  let map: GridMap
  let region: Region
  let target: Target<UInt8>
  let work: Work

  func visit<T: Voxel>(_ voxels: Voxels<T>) throws {
    let (target, region, source, lesion) = (target, region, source, lesion)
    let base = voxels.advanced(by: source.first)
    switch map {
    case .zoom(let zoom, let shift):
      let offsets = (0..<3).map { axis in
        (0..<region.shape[axis]).map { step in
          nearestOffset(
            (Double(region.lower[axis] + step) + shift[axis]) * zoom[axis], count: source.grid.shape[axis],
            stride: source.strides[axis])
        }
      }
      try work.slices(region.shape.z) { slice in
        for row in 0..<region.shape.y {
          let start = target.first &+ row &* target.strides.y &+ slice &* target.strides.z
          guard let z = offsets[2][slice], let y = offsets[1][row] else {
            for column in 0..<region.shape.x { target.buffer.base[start &+ column &* target.strides.x] = 0 }
            continue
          }
          for column in 0..<region.shape.x {
            let found = offsets[0][column].map { lesion.contains(base.base[z &+ y &+ $0]) } ?? false
            target.buffer.base[start &+ column &* target.strides.x] = found ? 1 : 0
          }
        }
      }
    case .affine(let map):
      try work.slices(region.shape.z) { slice in
        for row in 0..<region.shape.y {
          for column in 0..<region.shape.x {
            let point = map.scipy(region.lower &+ SIMD3(column, row, slice))
            let place =
              target.first &+ column &* target.strides.x &+ row &* target.strides.y &+ slice &* target.strides.z
            if let x = nearestOffset(point.x, count: source.grid.shape.x, stride: source.strides.x),
              let y = nearestOffset(point.y, count: source.grid.shape.y, stride: source.strides.y),
              let z = nearestOffset(point.z, count: source.grid.shape.z, stride: source.strides.z)
            {
              target.buffer.base[place] = lesion.contains(base.base[x &+ y &+ z]) ? 1 : 0
            } else {
              target.buffer.base[place] = 0
            }
          }
        }
      }
    }
  }
}

extension Affine {
  /// The point of a voxel, summed from the origin on as scipy does.
  fileprivate func scipy(_ index: SIMD3<Int>) -> SIMD3<Double> {
    origin + x * Double(index.x) + y * Double(index.y) + z * Double(index.z)
  }
}
