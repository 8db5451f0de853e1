import Glibc

/// Voxels of the canvas in x, y and z from `lower` to `upper`, both included.
package struct Box: Sendable, Equatable {
  package var lower: SIMD3<Int>
  package var upper: SIMD3<Int>

  package init(lower: SIMD3<Int>, upper: SIMD3<Int>) {
    self.lower = lower
    self.upper = upper
  }

  var shape: SIMD3<Int> { upper &- lower &+ 1 }

  /// Grown by `margin` each way, as far as `shape` goes.
  func grown(by margin: Int, within shape: SIMD3<Int>) -> Box {
    Box(lower: pointwiseMax(lower &- margin, .zero), upper: pointwiseMin(upper &+ margin, shape &- 1))
  }
}

/// An array over the canvas or some of its slices, x fastest.
package struct CanvasArray<Element: BitwiseCopyable>: Sendable {
  private let voxels: Buffer<Element>
  private let firstSlice: Int
  package let shape: SIMD3<Int>

  /// - Parameter firstSlice: slices of `voxels` that come before the array.
  package init(voxels: Buffer<Element>, firstSlice: Int = 0, shape: SIMD3<Int>) {
    self.voxels = voxels
    self.firstSlice = firstSlice
    self.shape = shape
  }

  package var base: UnsafeMutablePointer<Element> { voxels.base + firstSlice &* shape.x &* shape.y }

  package func offset(_ index: SIMD3<Int>) -> Int { (index.z &* shape.y &+ index.y) &* shape.x &+ index.x }

  /// The smallest box that holds what `isPart` accepts within `box`; nil if nothing is.
  ///
  /// Of a row that cannot move the box in y or z only the ends beyond it are looked at: most of a body is never read.
  package func bounds(within box: Box, where isPart: (Element) -> Bool) -> Box? {
    var found = Box(lower: box.upper &+ 1, upper: box.lower &- 1)
    for z in box.lower.z...box.upper.z {
      for y in box.lower.y...box.upper.y {
        let row = base + offset(SIMD3(0, y, z))
        let inside = z <= found.upper.z && y >= found.lower.y && y <= found.upper.y
        let leftEnd = inside ? found.lower.x &- 1 : box.upper.x
        var left = box.lower.x
        while left <= leftEnd, !isPart(row[left]) { left &+= 1 }
        if left > leftEnd, !inside { continue }
        found.lower = pointwiseMin(found.lower, SIMD3(left, y, z))
        found.upper = pointwiseMax(found.upper, SIMD3(left, y, z))
        var right = box.upper.x
        while right > found.upper.x, !isPart(row[right]) { right &-= 1 }
        found.upper.x = right
      }
    }
    return found.upper.z >= found.lower.z ? found : nil
  }
}

extension CanvasArray where Element == UInt8 {
  func count(within box: Box) -> Int {
    var result = 0
    for z in box.lower.z...box.upper.z {
      for y in box.lower.y...box.upper.y {
        let row = offset(SIMD3(0, y, z))
        for x in box.lower.x...box.upper.x { result &+= Int(base[row &+ x]) }
      }
    }
    return result
  }
}

/// Resizes boxes of the canvas to the extent of a view by the rules of torch's `interpolate`, whose index arithmetic
/// is f32.
struct ViewResize {
  let extent: ModelDescription.Extent
  let work: Work

  /// The two voxels around an output voxel's centre (half-pixel centres, align_corners = false).
  private struct Tap: Sendable {
    var lower: Int
    var upper: Int
    var weight: Float
  }

  private static func linearTaps(from count: Int, to size: Int, start: Int, stride: Int) -> [Tap] {
    let scale = Float(count) / Float(size)
    return (0..<size).map { index in
      let source = max(scale * (Float(index) + 0.5) - 0.5, 0)
      let lower = min(Int(source), count - 1)
      return Tap(
        lower: (start + lower) * stride, upper: (start + min(lower + 1, count - 1)) * stride,
        weight: min(max(source - Float(lower), 0), 1))
    }
  }

  private static func nearest(_ index: Int, from count: Int, to size: Int) -> Int {
    min(Int(Float(index) * (Float(count) / Float(size))), count - 1)
  }

  /// Trilinear, no antialiasing: for PET and CT.
  func linear(_ source: CanvasArray<Float>, _ box: Box) throws -> Buffer<Float> {
    let output = try Buffer<Float>(count: extent.count)
    let (height, width) = (extent.height, extent.width)
    let xs = Self.linearTaps(from: box.shape.x, to: width, start: box.lower.x, stride: 1)
    let ys = Self.linearTaps(from: box.shape.y, to: height, start: box.lower.y, stride: source.shape.x)
    let zs = Self.linearTaps(
      from: box.shape.z, to: extent.depth, start: box.lower.z, stride: source.shape.x * source.shape.y)
    try work.slices(extent.depth) { slice in
      let voxels = source.base
      let z = zs[slice]
      for row in 0..<height {
        let y = ys[row]
        let line = output.base + (slice &* height &+ row) &* width
        for column in 0..<width {
          let x = xs[column]
          func along(_ offset: Int) -> Float {
            (1 - x.weight) * voxels[offset &+ x.lower] + x.weight * voxels[offset &+ x.upper]
          }
          let lower = (1 - y.weight) * along(z.lower &+ y.lower) + y.weight * along(z.lower &+ y.upper)
          let upper = (1 - y.weight) * along(z.upper &+ y.lower) + y.weight * along(z.upper &+ y.upper)
          line[column] = (1 - z.weight) * lower + z.weight * upper
        }
      }
    }
    return output
  }

  /// Nearest voxel: for the mask. Also counts its voxels.
  func nearest(_ source: CanvasArray<UInt8>, _ box: Box) throws -> (voxels: Buffer<Float>, count: Int) {
    let output = try Buffer<Float>(count: extent.count)
    let counts = try Buffer<Int>(count: extent.depth)
    let extent = extent
    let columns = (0..<extent.width).map { box.lower.x + Self.nearest($0, from: box.shape.x, to: extent.width) }
    try work.slices(extent.depth) { slice in
      let z = box.lower.z + Self.nearest(slice, from: box.shape.z, to: extent.depth)
      for row in 0..<extent.height {
        let y = box.lower.y + Self.nearest(row, from: box.shape.y, to: extent.height)
        let line = output.base + (slice &* extent.height &+ row) &* extent.width
        let start = source.offset(SIMD3(0, y, z))
        for column in 0..<extent.width {
          let voxel = source.base[start &+ columns[column]]
          line[column] = Float(voxel)
          counts.base[slice] &+= Int(voxel)
        }
      }
    }
    return (output, counts.elements.reduce(0, +))
  }

  /// The element of a view that shows voxel `index` of the canvas; one beyond `box` means the nearest within.
  func element(showing index: SIMD3<Int>, of box: Box) -> Int {
    let inside = pointwiseMin(pointwiseMax(index, box.lower), box.upper) &- box.lower
    func place(_ axis: Int, _ size: Int) -> Int {
      min((2 * inside[axis] + 1) * size / (2 * box.shape[axis]), size - 1)
    }
    return (place(2, extent.depth) * extent.height + place(1, extent.height)) * extent.width + place(0, extent.width)
  }
}
