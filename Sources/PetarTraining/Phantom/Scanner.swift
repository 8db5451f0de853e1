import Glibc

/// What a scanner makes of the truth: its resolution and its noise.
struct Scanner: Sendable {
  /// Resolution of the PET: full width at half maximum, in millimetres.
  let resolution: Float
  /// Standard deviation of the PET's noise at SUV 1; it grows with the root of the activity, as counts have it.
  let petNoise: Float
  /// Standard deviation of the CT's noise in the chest, in HU.
  let ctNoise: Float
  let petSpacing: Point
  let ctSpacing: Point

  init(_ random: inout PhantomRandom) {
    resolution = random.uniform(5...6.2)
    petNoise = random.uniform(0.11...0.2)
    ctNoise = random.uniform(9...15)
    let plane = random.uniform(3...3.9)
    let slice = random.pick([3, 3.27, 4] as [Float])
    petSpacing = Point(plane, plane, slice)
    let fine = random.uniform(2.3...2.8)
    ctSpacing = Point(fine, fine, slice)
  }

  static let sigmaOfWidth: Float = 1 / 2.3548

  /// Standard deviation of the blur in voxels.
  var petSigma: Point { Point(repeating: resolution * Self.sigmaOfWidth) / petSpacing }

  /// Blurs the truth, adds noise, and leaves nothing below 0.
  func pet(_ truth: [Float], grid: PhantomGrid, seed: UInt64) -> [Float] {
    var texture = noise(grid, seed: seed, stream: 10)
    // Organs are not even: a patchwork of about a centimetre.
    let coarse = Blur(sigma: Point(repeating: 4.5) / grid.spacing)
    coarse.apply(to: &texture, shape: grid.shape)
    let scale = 0.06 / max(deviation(texture), 1e-6)
    var image = truth
    for index in image.indices { image[index] *= max(1 + scale * texture[index], 0.5) }
    Blur(sigma: petSigma).apply(to: &image, shape: grid.shape)

    var grain = noise(grid, seed: seed, stream: 11)
    Blur(sigma: Point(0.75, 0.75, 0.65)).apply(to: &grain, shape: grid.shape)
    let spread = petNoise / max(deviation(grain), 1e-6)
    for slice in 0..<grid.shape.z {
      // The outermost slices of the axial field of view see fewer counts.
      let fromEdge = min(slice, grid.shape.z - 1 - slice)
      let sensitivity = 1 + 0.6 * exp(-Float(fromEdge) / 4)
      for index in (slice * grid.plane)..<((slice + 1) * grid.plane) {
        let value = image[index]
        image[index] = max(value + spread * sensitivity * grain[index] * (value + 0.003).squareRoot(), 0)
      }
    }
    return image
  }

  /// Adds noise, more of it where the body is wide, and rounds to whole HU.
  func ct(_ truth: [Float], grid: PhantomGrid, seed: UInt64) -> [Int16] {
    var image = truth
    var grain = noise(grid, seed: seed, stream: 12)
    Blur(sigma: Point(0.6, 0.6, 0)).apply(to: &grain, shape: grid.shape)
    let spread = ctNoise / max(deviation(grain), 1e-6)
    var rounded = [Int16](repeating: 0, count: grid.count)
    for slice in 0..<grid.shape.z {
      let range = (slice * grid.plane)..<((slice + 1) * grid.plane)
      var dense: Float = 0
      for index in range { dense += max(image[index] + 900, 0) }
      // Water-equivalent area in mm2; 60,000 is a chest.
      let area = dense / 1000 * grid.spacing.x * grid.spacing.y
      let thickness = min(max((area / 60_000).squareRoot(), 0.6), 1.6)
      for index in range {
        let value = image[index]
        let inAir: Float = value < -950 ? 0.2 : 1
        image[index] = value + spread * thickness * inAir * grain[index]
        rounded[index] = Int16(max(min(image[index].rounded(), 3071), -1024))
      }
    }
    return rounded
  }

  private func noise(_ grid: PhantomGrid, seed: UInt64, stream: UInt64) -> [Float] {
    [Float](unsafeUninitializedCapacity: grid.count) { buffer, count in
      var random = PhantomRandom(seed, stream)
      for index in 0..<grid.count { buffer[index] = random.normal() }
      count = grid.count
    }
  }

  private func deviation(_ values: [Float]) -> Float {
    var sum: Double = 0
    for value in values { sum += Double(value * value) }
    return Float((sum / Double(max(values.count, 1))).squareRoot())
  }
}

/// A separable Gaussian; beyond the border the last value goes on.
struct Blur {
  private let kernels: [[Float]]

  /// - Parameter sigma: in voxels along each axis; 0 leaves an axis alone.
  init(sigma: Point) {
    kernels = (0..<3).map { axis in
      guard sigma[axis] > 0.05 else { return [1] }
      let reach = Int((2.6 * sigma[axis]).rounded(.up))
      let weights = (-reach...reach).map { exp(-0.5 * Float($0 * $0) / (sigma[axis] * sigma[axis])) }
      let sum = weights.reduce(0, +)
      return weights.map { $0 / sum }
    }
  }

  var reach: SIMD3<Int> { SIMD3(kernels[0].count / 2, kernels[1].count / 2, kernels[2].count / 2) }

  func apply(to values: inout [Float], shape: SIMD3<Int>) {
    var scratch = values
    let strides = [1, shape.x, shape.x * shape.y]
    for axis in 0..<3 where kernels[axis].count > 1 {
      values.withUnsafeBufferPointer { source in
        scratch.withUnsafeMutableBufferPointer { target in
          if axis == 0 {
            alongRows(source, target, shape)
          } else {
            acrossRows(source, target, shape, axis: axis, stride: strides[axis])
          }
        }
      }
      swap(&values, &scratch)
    }
  }

  private func alongRows(
    _ source: UnsafeBufferPointer<Float>, _ target: UnsafeMutableBufferPointer<Float>, _ shape: SIMD3<Int>
  ) {
    let kernel = kernels[0]
    let reach = kernel.count / 2
    let width = shape.x
    var padded = [Float](repeating: 0, count: width + 2 * reach)
    for row in 0..<(shape.y * shape.z) {
      let start = row * width
      for i in padded.indices { padded[i] = source[start + min(max(i - reach, 0), width - 1)] }
      for i in 0..<width {
        var sum: Float = 0
        for k in kernel.indices { sum += kernel[k] * padded[i + k] }
        target[start + i] = sum
      }
    }
  }

  /// Whole rows at a time, which the compiler turns into vectors.
  private func acrossRows(
    _ source: UnsafeBufferPointer<Float>, _ target: UnsafeMutableBufferPointer<Float>, _ shape: SIMD3<Int>, axis: Int,
    stride: Int
  ) {
    let kernel = kernels[axis]
    let reach = kernel.count / 2
    let width = shape.x
    for z in 0..<shape.z {
      for y in 0..<shape.y {
        let start = (z * shape.y + y) * width
        let here = axis == 1 ? y : z
        for i in 0..<width { target[start + i] = 0 }
        for k in kernel.indices {
          let there = min(max(here + k - reach, 0), shape[axis] - 1)
          let from = start + (there - here) * stride
          let weight = kernel[k]
          for i in 0..<width { target[start + i] += weight * source[from + i] }
        }
      }
    }
  }
}
