import CPetar
import Foundation
import Petar
import Testing

@Suite("Six arrays against nibabel, nilearn and torch") struct ImagingReleasedPipelineTests {
  /// 1e-4 is the promise. Index arithmetic of the resize is f32: 200 voxels x 2^-24 is an error of 1e-5 of a step.
  @Test(arguments: [
    ("padded", Exam.CTOutside.released), ("cropped", .released), ("two_grids", .released), ("air", .air),
    ("tilted", .released), ("three_mm", .released), ("nearly_parallel", .released),
  ])
  func sixArrays(_ name: String, _ outside: Exam.CTOutside) throws {
    let reference = try ImagingReference(name)
    let result = try ImagingPhantom.prepare(reference.exam(ctOutside: outside), reference.views)
    let difference = reference.difference(result)
    print("\(name): largest difference \(difference.values), \(difference.maskVoxels) mask voxels differ")
    #expect(difference.values < 1e-4)
    #expect(difference.maskVoxels == 0)
  }
}
