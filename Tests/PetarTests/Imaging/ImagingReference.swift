import CPetar
import CZlib
import Foundation
import Petar
import Testing

/// An exam of Tests/Fixtures/imaging with what nibabel, nilearn and torch made of it (make_imaging.py).
struct ImagingReference {
  /// One of the six arrays: samples and slice means of PET and CT, every voxel of a mask.
  enum Content {
    case samples(positions: [Int], values: [Float], sliceMeans: [Double])
    case mask([Bool])
  }

  static let folder = URL(filePath: #filePath).deletingLastPathComponent().deletingLastPathComponent()
    .deletingLastPathComponent().appending(path: "Fixtures/imaging")

  let pet: Volume
  let ct: Volume
  let mask: Volume
  let views: ModelDescription.Views
  let arrays: [Content]

  init(_ name: String) throws {
    let folder = Self.folder.appending(path: name)
    func path(_ file: String) -> String { folder.appending(path: file).path }
    pet = try .read(niftiPath: path("pet.nii.gz"), unit: .suv)
    ct = try .read(niftiPath: path("ct.nii.gz"), unit: .hu)
    mask = try .read(niftiPath: path("mask.nii.gz"), unit: .label)

    let packed = [UInt8](try Data(contentsOf: folder.appending(path: "reference.bin")))
    var bytes = [UInt8](repeating: 0, count: 8 << 20)
    var length = uLong(bytes.count)
    try #require(uncompress(&bytes, &length, packed, uLong(packed.count)) == Z_OK)
    (views, arrays) = try bytes.withUnsafeBytes { raw in
      var reader = ByteReader(UnsafeRawBufferPointer(rebasing: raw[..<Int(length)]), source: "reference")
      func count() throws -> Int { Int(try reader.integer(UInt32.self)) }
      var views = ModelDescription.Views()
      views.extent = ModelDescription.Extent(try count(), try count(), try count())
      var arrays: [Content] = []
      for index in 0..<6 {
        if index % 3 == 1 {
          let bits = try reader.take((views.extent.count + 7) / 8)
          let mask: [Bool] = (0..<views.extent.count).map { place in
            let bit: UInt8 = 0x80 >> UInt8(place % 8)
            return bits[place / 8] & bit != 0
          }
          arrays.append(.mask(mask))
        } else {
          let samples = try count()
          let positions: [Int] = try (0..<samples).map { _ in try count() }
          let values: [Float] = try (0..<samples).map { _ in try reader.float() }
          let means: [Double] = try (0..<views.extent.depth).map { _ in try reader.double() }
          arrays.append(.samples(positions: positions, values: values, sliceMeans: means))
        }
      }
      return (views, arrays)
    }
  }

  func exam(ctOutside: Exam.CTOutside = .released) -> Exam {
    Exam(pet: pet, ct: ct, mask: mask, ctOutside: ctOutside)
  }

  /// The largest difference of PET and CT from the reference, and how many voxels of the masks differ.
  func difference(_ result: Views) -> (values: Float, maskVoxels: Int) {
    var largest: Float = 0
    var maskVoxels = 0
    for (content, buffer) in zip(arrays, result.arrays) {
      switch content {
      case .mask(let expected):
        maskVoxels += zip(expected, buffer.elements).count { $0 != ($1 == 1) }
      case .samples(let positions, let values, let means):
        for (position, value) in zip(positions, values) {
          largest = larger(largest, abs(buffer.base[position] - value))
        }
        let slice = views.extent.height * views.extent.width
        for (index, mean) in means.enumerated() {
          let sum = (0..<slice).reduce(0.0) { $0 + Double(buffer.base[index * slice + $1]) }
          largest = larger(largest, Float(abs(sum / Double(slice) - mean)))
        }
      }
    }
    return (largest, maskVoxels)
  }
}
