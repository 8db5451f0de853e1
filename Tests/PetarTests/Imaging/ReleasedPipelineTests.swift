import CPetar
import Foundation
import Petar
import Testing

@Suite("Six arrays against nibabel, nilearn and torch") struct ReleasedPipelineTests {
  /// 1e-4 is the promise. Index arithmetic of the resize is f32: 200 voxels x 2^-24 is an error of 1e-5 of a step.
  @Test(arguments: [
    ("padded", Exam.CTOutside.released), ("cropped", .released), ("two_grids", .released), ("air", .air),
    ("tilted", .released), ("three_mm", .released),
  ])
  func sixArrays(_ name: String, _ outside: Exam.CTOutside) throws {
    let reference = try ReferenceExam(name)
    let result = try prepare(reference.exam(ctOutside: outside), reference.views)
    let difference = reference.difference(result)
    print("\(name): largest difference \(difference.values), \(difference.maskVoxels) mask voxels differ")
    print(result.warnings, result.geometry.text)
    #expect(difference.values < 1e-4)
    #expect(difference.maskVoxels == 0)
  }
}
