import Petar

/// A generated exam: a body in 100 x 100 x 100 voxels of 3 mm, a bright head and a lesion.
enum Phantom {
  static func exam() throws -> Exam {
    let side = 100
    let shape = [side, side, side]
    let affine: [Double] = [3, 0, 0, -150, 0, 3, 0, -150, 0, 0, 3, -150, 0, 0, 0, 1]
    let pet = try Buffer<Float>(count: side * side * side)
    let ct = try Buffer<Int16>(count: side * side * side)
    let mask = try Buffer<UInt8>(count: side * side * side)
    func inside(_ x: Int, _ y: Int, _ z: Int, center: (Int, Int, Int), radius: (Int, Int, Int)) -> Bool {
      let dx = Double(x - center.0) / Double(radius.0)
      let dy = Double(y - center.1) / Double(radius.1)
      let dz = Double(z - center.2) / Double(radius.2)
      return dx * dx + dy * dy + dz * dz < 1
    }
    for z in 0..<side {
      for y in 0..<side {
        for x in 0..<side {
          let index = (z * side + y) * side + x
          let body = inside(x, y, z, center: (50, 50, 50), radius: (42, 30, 60))
          let lesion = inside(x, y, z, center: (60, 45, 40), radius: (5, 4, 6))
          let head = inside(x, y, z, center: (50, 50, 92), radius: (10, 12, 8))
          // A little texture, so that no two tokens are the same.
          let grain = Float((x &* 7 &+ y &* 13 &+ z &* 29) % 17) / 17
          pet.base[index] = lesion ? 9 + grain : head ? 8 + grain : body ? 0.5 + grain : 0
          ct.base[index] = body ? Int16(40 + (x &* 3 &+ y &* 5 &+ z &* 11) % 23) : -1000
          mask.base[index] = lesion ? 1 : 0
        }
      }
    }
    return Exam(
      pet: try Volume(
        voxels: UnsafeRawBufferPointer(pet.elements), type: .float32, shape: shape, affine: affine, unit: .suv),
      ct: try Volume(
        voxels: UnsafeRawBufferPointer(ct.elements), type: .int16, shape: shape, affine: affine, unit: .hu),
      mask: try Volume(
        voxels: UnsafeRawBufferPointer(mask.elements), type: .uint8, shape: shape, affine: affine, unit: .label))
  }
}
