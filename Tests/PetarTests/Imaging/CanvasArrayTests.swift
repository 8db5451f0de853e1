import Petar
import Testing

@Suite("Arrays over the canvas") struct CanvasArrayTests {
  /// Every voxel of a box is looked at.
  private func plainBounds(_ array: CanvasArray<UInt8>, within box: Box) -> Box? {
    var found: Box?
    for z in box.lower.z...box.upper.z {
      for y in box.lower.y...box.upper.y {
        for x in box.lower.x...box.upper.x where array.base[array.offset(SIMD3(x, y, z))] != 0 {
          let here = SIMD3(x, y, z)
          found = Box(
            lower: pointwiseMin(found?.lower ?? here, here), upper: pointwiseMax(found?.upper ?? here, here))
        }
      }
    }
    return found
  }

  @Test("The smallest box is that of a search over every voxel", arguments: 0..<200) func bounds(seed: Int) throws {
    var random = SplitMix64(seed: UInt64(seed))
    func below(_ count: Int) -> Int { Int(random.next() % UInt64(count)) }
    let shape = SIMD3(1 + below(9), 1 + below(7), 1 + below(5))
    // A slice that is no part of the array comes first.
    let (plane, count) = (shape.x * shape.y, shape.x * shape.y * shape.z)
    let voxels = try Buffer<UInt8>(count: plane + count)
    voxels.base.update(repeating: 1, count: plane)
    let array = CanvasArray(voxels: voxels, firstSlice: 1, shape: shape)
    // From none to nearly all.
    for _ in 0..<below(count + 1) { array.base[below(count)] = 1 }
    let lower = SIMD3(below(shape.x), below(shape.y), below(shape.z))
    let box = Box(
      lower: lower,
      upper: lower &+ SIMD3(below(shape.x - lower.x), below(shape.y - lower.y), below(shape.z - lower.z)))
    #expect(array.bounds(within: box) { $0 != 0 } == plainBounds(array, within: box))
  }
}
