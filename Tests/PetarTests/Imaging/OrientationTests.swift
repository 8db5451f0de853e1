import CPetar
import Petar
import Testing

private typealias Phantom = ImagingPhantom

@Suite("Axis orders") struct ImagingOrientationTests {
  /// An order of the stored axes and which of them are reversed.
  struct Storage: Sendable, CustomTestStringConvertible {
    let order: [Int]
    let reversed: [Bool]

    static let all: [Storage] = {
      let orders = [[0, 1, 2], [0, 2, 1], [1, 0, 2], [1, 2, 0], [2, 0, 1], [2, 1, 0]]
      return orders.flatMap { order in
        (0..<8).map { bits in Storage(order: order, reversed: (0..<3).map { bits >> $0 & 1 == 1 }) }
      }
    }()

    /// What the stored axes are called: "RAS" for no change.
    var axes: String {
      zip(order, reversed).map { axis, reversed in (reversed ? ["L", "P", "I"] : ["R", "A", "S"])[axis] }.joined()
    }

    var testDescription: String { axes }

    /// The same image in this order: stored axis a runs along RAS axis `order[a]`.
    func volume(
      _ shape: SIMD3<Int>, spacing: SIMD3<Double>, origin: SIMD3<Double>, _ unit: Volume.Unit,
      _ value: (SIMD3<Int>) -> Float
    ) throws -> Volume {
      var affine = [Double](repeating: 0, count: 16)
      affine[15] = 1
      for row in 0..<3 { affine[row * 4 + 3] = origin[row] }
      var stored = SIMD3<Int>.zero
      for axis in 0..<3 {
        let target = order[axis]
        stored[axis] = shape[target]
        affine[target * 4 + axis] = reversed[axis] ? -spacing[target] : spacing[target]
        if reversed[axis] { affine[target * 4 + 3] += spacing[target] * Double(shape[target] - 1) }
      }
      return try Phantom.volume(stored, affine, unit) { index in
        var ras = SIMD3<Int>.zero
        for axis in 0..<3 { ras[order[axis]] = reversed[axis] ? stored[axis] - 1 - index[axis] : index[axis] }
        return value(ras)
      }
    }
  }

  private static func exam(_ storage: Storage, _ other: Storage) throws -> Exam {
    // Spacings and origin of few bits: reversing an axis and turning it back is then exact.
    let shape = SIMD3(24, 31, 27)
    let spacing = SIMD3(3.5, 4.25, 5.75)
    let origin = SIMD3(-40.5, -61.25, 12)
    func volume(_ storage: Storage, _ unit: Volume.Unit, _ value: (SIMD3<Int>) -> Float) throws -> Volume {
      try storage.volume(shape, spacing: spacing, origin: origin, unit, value)
    }
    return Exam(
      pet: try volume(storage, .suv) { Float(($0.x * 7 + $0.y * 13 + $0.z * 29) % 97) / 16 },
      ct: try volume(other, .hu) { Float(($0.x * 31 + $0.y * 17 + $0.z * 5) % 900 - 400) },
      mask: try volume(storage, .label, Phantom.ball(SIMD3(10, 20, 12), 3)))
  }

  @Test("An exam stored in any of the 48 orders gives the same six arrays")
  func sameArrays() throws {
    let extent = Phantom.views(8, 48, 48)
    let plain = Storage(order: [0, 1, 2], reversed: [false, false, false])
    let expected = try Phantom.prepare(Self.exam(plain, plain), extent)
    #expect(expected.maskVoxels > 0)
    for (index, storage) in Storage.all.enumerated() {
      // The CT comes in yet another order than PET and mask.
      let exam = try Self.exam(storage, Storage.all[(index + 19) % 48])
      #expect(exam.pet.grid.axes == storage.axes)
      let result = try Phantom.prepare(exam, extent)
      for (array, other) in zip(result.arrays, expected.arrays) {
        #expect(array.elements.elementsEqual(other.elements), "stored as \(storage.axes)")
      }
    }
  }

  @Test("Axes are named after the patient axis they run along most")
  func tilted() throws {
    // Turned by 40 degrees about z, first axis reversed.
    let (c, s) = (0.766, 0.643)
    let volume = try Phantom.volume(
      SIMD3(2, 2, 2), [-c, -s, 0, 0, -s, c, 0, 0, 0, 0, 2, 0, 0, 0, 0, 1], .hu, { _ in 0 })
    #expect(volume.grid.axes == "LAS")
  }
}
