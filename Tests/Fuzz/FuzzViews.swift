/// Three small volumes with hostile affines and numbers, prepared for a model: views or a status, never a crash or a
/// hang.
@c(LLVMFuzzerTestOneInput)
public func fuzzViews(_ data: UnsafePointer<UInt8>, _ count: Int) -> Int32 {
  var bytes = Bytes(Array(UnsafeBufferPointer(start: data, count: count)))
  guard let pet = try? bytes.volume(bytes.next() & 1 == 0 ? .suv : .bqml), let ct = try? bytes.volume(.hu),
    let mask = try? bytes.volume(.label), let pool = try? ThreadPool(threads: 1)
  else { return 0 }
  var settings = ModelDescription.Views()
  settings.extent = .init(4, 16, 16)
  let outside: Exam.CTOutside = bytes.next() & 1 == 0 ? .released : .air
  let exam = Exam(pet: pet, ct: ct, mask: mask, label: Int32(bytes.next() & 3), ctOutside: outside)
  let views = try? prepareViews(exam, settings, pool: pool, isCancelled: { false }, progress: { _ in })
  guard let views else { return 0 }
  for (index, array) in views.arrays.enumerated() {
    let isMask = index % 3 == 1
    for voxel in 0..<array.count {
      let value = array.base[voxel]
      guard isMask ? value == 0 || value == 1 : (0...1).contains(value) else {
        fatalError("voxel \(voxel) of array \(index) is \(value)")
      }
    }
  }
  return 0
}

/// What a try is made of; zeros after its end.
private struct Bytes {
  private var rest: ArraySlice<UInt8>

  init(_ bytes: [UInt8]) { rest = bytes[...] }

  mutating func next() -> UInt8 { rest.popFirst() ?? 0 }

  /// Sixteenths from -2048 to 2048, or any 64 bits at all.
  private mutating func number(wild: Bool) -> Double {
    guard wild else { return Double(Int16(truncatingIfNeeded: bits(2))) / 16 }
    return Double(bitPattern: bits(8))
  }

  private mutating func bits(_ bytes: Int) -> UInt64 { (0..<bytes).reduce(0) { sum, _ in sum << 8 | UInt64(next()) } }

  /// Up to 16 voxels along each axis; a few bytes are repeated to fill them.
  mutating func volume(_ unit: Volume.Unit) throws -> Volume {
    let kind = next()
    let type = VoxelType.allCases[Int(kind & 7)]
    let shape = (0..<3).map { _ in 1 + Int(next() & 15) }
    let affine = (0..<12).map { _ in number(wild: kind & 16 != 0) } + [0, 0, 0, 1]
    let (slope, intercept) = (number(wild: kind & 32 != 0), number(wild: kind & 32 != 0))
    let pattern = (0...Int(next())).map { _ in next() }
    let voxels = (0..<shape.reduce(type.size, *)).map { pattern[$0 % pattern.count] }
    return try voxels.withUnsafeBytes {
      try Volume(
        voxels: $0, type: type, shape: shape, affine: affine, unit: unit, suvFactor: 1e-3, slope: slope,
        intercept: intercept)
    }
  }
}
