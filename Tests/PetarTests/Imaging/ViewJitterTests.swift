import Foundation
import Petar
import Testing

@Suite("Imaging: jitter of training") struct ViewJitterTests {
  private struct Report: Decodable {
    struct Box: Decodable {
      let lower: [Int]
      let upper: [Int]
    }
    let focal_box: Box
    let global_slices: [Int]
  }

  /// A ball of 9 voxels across in the middle of 100 x 90 x 200 voxels, so that no side is cut.
  private static let centre = SIMD3(50, 45, 100)

  private func prepared(_ jitter: ViewJitter) throws -> (Views, Report) {
    let exam = try ImagingPhantom.exam(
      SIMD3(100, 90, 200), pet: { $0.z == 199 ? 6 : 1 }, lesion: ImagingPhantom.ball(Self.centre, 4))
    let views = try prepareViews(
      exam, ImagingPhantom.views(16, 32, 32), jitter: jitter, pool: ThreadPool(threads: 1), isCancelled: { false },
      progress: { _ in })
    return (views, try JSONDecoder().decode(Report.self, from: Data(views.geometry.text.utf8)))
  }

  /// 9 + 2 x 20 = 49 voxels a side: middle and side each move by a fifth of it, 9.8 voxels, and rounding adds one.
  @Test("Boxes differ, hold the lesion, and stay within the paper's fifth") func bounds() throws {
    let (_, plain) = try prepared(.none)
    let sides = zip(plain.focal_box.lower, plain.focal_box.upper).map { $1 - $0 + 1 }
    #expect(sides == [49, 49, 49])
    let lesion = zip(plain.focal_box.lower, plain.focal_box.upper).map { ($0 + 20, $1 - 20) }
    var random = SplitMix64(seed: 5)
    var shifts: [Double] = []
    var growths: [Int] = []
    var reaches: Set<Int> = []
    for _ in 0..<12 {
      let (views, report) = try prepared(ViewJitter(&random))
      for axis in 0..<3 {
        let (low, high) = (report.focal_box.lower[axis], report.focal_box.upper[axis])
        #expect(low <= lesion[axis].0 && high >= lesion[axis].1)
        let middle = Double(plain.focal_box.lower[axis] + plain.focal_box.upper[axis]) / 2
        shifts.append(Double(low + high) / 2 - middle)
        growths.append(high - low + 1 - 49)
      }
      reaches.insert(report.global_slices[1] - report.global_slices[0] + 1)
      #expect(views.focalMaskVoxels > 0)
    }
    #expect(shifts.allSatisfy { abs($0) <= 10.8 } && growths.allSatisfy { abs($0) <= 11 })
    #expect(shifts.contains { $0 > 4 } && shifts.contains { $0 < -4 })
    #expect(growths.contains { $0 > 4 } && growths.contains { $0 < -4 })
    #expect(reaches.allSatisfy { abs($0 - 161) <= 30 } && reaches.count > 6)
  }

  /// 65 voxels of 105: a fifth of the side, 21, is more than the margin, the more so when the box has shrunk.
  @Test("A large lesion stays whole, and left stays left") func largeLesion() throws {
    // More uptake on one side.
    let exam = try ImagingPhantom.exam(
      SIMD3(130, 130, 130), pet: { $0.x < 65 ? 6 : 1 }, lesion: ImagingPhantom.ball(SIMD3(65, 65, 65), 32))
    func prepared(_ jitter: ViewJitter) throws -> (Views, Report) {
      let views = try prepareViews(
        exam, ImagingPhantom.views(16, 32, 32), jitter: jitter, pool: ThreadPool(threads: 1), isCancelled: { false },
        progress: { _ in })
      return (views, try JSONDecoder().decode(Report.self, from: Data(views.geometry.text.utf8)))
    }
    /// Uptake in the first half of the columns less that in the second.
    func slope(_ arrays: Views.Arrays) -> Float {
      arrays.pet.elements.enumerated().reduce(0) { $0 + ($1.offset % 32 < 16 ? $1.element : -$1.element) }
    }
    let (plain, box) = try prepared(.none)
    let lesion = zip(box.focal_box.lower, box.focal_box.upper).map { ($0 + 20, $1 - 20) }
    #expect(lesion.map { $1 - $0 + 1 } == [65, 65, 65])
    var random = SplitMix64(seed: 4)
    var clamped = 0
    for _ in 0..<12 {
      let (views, report) = try prepared(ViewJitter(&random))
      for axis in 0..<3 {
        let (low, high) = (report.focal_box.lower[axis], report.focal_box.upper[axis])
        #expect(low <= lesion[axis].0 && high >= lesion[axis].1)
        clamped += low == lesion[axis].0 || high == lesion[axis].1 ? 1 : 0
      }
      for (one, other) in [(plain.focal, views.focal), (plain.global, views.global)] {
        #expect(abs(slope(one)) > 10 && slope(one) * slope(other) > 0)
      }
    }
    #expect(clamped > 3)
  }

  @Test("Without jitter, training sees what inference sees") func none() throws {
    let exam = try ImagingPhantom.exam(SIMD3(60, 50, 80), lesion: ImagingPhantom.ball(SIMD3(30, 25, 40), 3))
    let views = ImagingPhantom.views(8, 32, 32)
    let plain = try ImagingPhantom.prepare(exam, views)
    let jittered = try prepareViews(
      exam, views, jitter: .none, pool: ThreadPool(threads: 1), isCancelled: { false }, progress: { _ in })
    for (one, other) in zip(plain.arrays, jittered.arrays) { #expect(Array(one.elements) == Array(other.elements)) }
  }
}
