import Petar
import Testing

@Suite("What lesions of one exam share when they are prepared") struct PreparedExamTests {
  private let pool: ThreadPool
  private let views = ImagingPhantom.views(8, 32, 32)

  init() throws { pool = try ThreadPool(threads: 2) }

  /// A CT with a grid of its own that does not reach everywhere; its numbers change with `factor`.
  private func exam(factor: Int, lesionAt middle: SIMD3<Int> = SIMD3(30, 25, 40)) throws -> Exam {
    var exam = try ImagingPhantom.exam(SIMD3(60, 50, 80), lesion: ImagingPhantom.ball(middle, 3))
    exam.ct = try ImagingPhantom.volume(
      SIMD3(70, 70, 70), ImagingPhantom.affine(spacing: SIMD3(2.1, 2.3, 3.7), origin: SIMD3(-4, 1, 2)), .hu
    ) { Float(($0.x &* 37 &+ $0.y &* 11 &- $0.z &* 29) &* factor) / 70 }
    return exam
  }

  private func prepare(_ exam: Exam, _ shared: PreparedExam = PreparedExam()) throws -> Views {
    try prepareViews(exam, views, shared: shared, pool: pool, isCancelled: { false }, progress: { _ in })
  }

  private func expectSame(_ one: Views, _ other: Views) {
    for (one, other) in zip(one.arrays, other.arrays) { #expect(Array(one.elements) == Array(other.elements)) }
    #expect(one.geometry.text == other.geometry.text)
    #expect(one.warnings == other.warnings)
  }

  @Test("Views, geometry and warnings of every lesion are those it has alone") func lesionsOfAnExam() throws {
    let first = try exam(factor: 10)
    var second = first
    second.mask = try exam(factor: 10, lesionAt: SIMD3(20, 30, 30)).mask
    let shared = PreparedExam()
    expectSame(try prepare(first, shared), try prepare(first))
    expectSame(try prepare(second, shared), try prepare(second))
    #expect(try prepare(first).geometry.text.contains("\"resampled_onto_pet\": true"))
    #expect(try prepare(first).warnings.contains { $0.contains("does not cover") })
  }

  @Test("Slices that one lesion's view left out are there for the next") func slicesOfATallExam() throws {
    func exam(lesionAt slice: Int) throws -> Exam {
      try ImagingPhantom.exam(
        SIMD3(30, 30, 300), pet: { Float(1 &+ ($0.x &* 3 &+ $0.y &* 5 &+ $0.z &* 7) % 11) },
        lesion: ImagingPhantom.ball(SIMD3(15, 15, slice), 3))
    }
    let first = try exam(lesionAt: 40)
    let shared = PreparedExam()
    expectSame(try prepare(first, shared), try prepare(first))
    for slice in [260, 150, 10] {
      var next = first
      next.mask = try exam(lesionAt: slice).mask
      expectSame(try prepare(next, shared), try prepare(next))
    }
  }

  /// Whether to stop is asked once for 16 slices on 2 threads, and so counts the work.
  private func asked(_ exam: Exam, _ shared: PreparedExam) throws -> Int {
    var count = 0
    _ = try prepareViews(
      exam, views, shared: shared, pool: pool,
      isCancelled: {
        count += 1
        return false
      }, progress: { _ in })
    return count
  }

  @Test("The second lesion's CT is not resampled again, nor are slices that are there") func workIsDoneOnce() throws {
    func exam(lesionAt slice: Int, ct: Volume? = nil) throws -> Exam {
      var exam = try ImagingPhantom.exam(SIMD3(30, 30, 300), lesion: ImagingPhantom.ball(SIMD3(15, 15, slice), 3))
      if let ct { exam.ct = ct }
      return exam
    }
    func saved(_ first: Exam, lesionAt slice: Int) throws -> Int {
      var second = first
      second.mask = try exam(lesionAt: slice).mask
      let shared = PreparedExam()
      let alone = try asked(first, PreparedExam())
      #expect(try asked(first, shared) == alone)
      return try asked(second, PreparedExam()) - asked(second, shared)
    }
    let ct = try ImagingPhantom.volume(
      SIMD3(20, 20, 200), ImagingPhantom.affine(spacing: SIMD3(5, 5, 5), origin: .zero), .hu
    ) { Float($0.z) }
    // So far apart that they share no slice: the CT alone, on the 300 slices of the PET.
    #expect(try saved(exam(lesionAt: 30, ct: ct), lesionAt: 270) == (300 + 15) / 16)
    #expect(try saved(exam(lesionAt: 30), lesionAt: 270) == 0)
    #expect(try saved(exam(lesionAt: 30), lesionAt: 30) > 0)
  }

  @Test("Another CT, PET grid or value outside is not taken for the one that is kept") func others() throws {
    let shared = PreparedExam()
    var exam = try exam(factor: 10)
    _ = try prepare(exam, shared)
    exam.ct = try self.exam(factor: 7).ct
    expectSame(try prepare(exam, shared), try prepare(exam))
    exam.ctOutside = .air
    expectSame(try prepare(exam, shared), try prepare(exam))
    let ct = exam.ct
    exam = try ImagingPhantom.exam(SIMD3(58, 50, 80), lesion: ImagingPhantom.ball(SIMD3(30, 25, 40), 3))
    exam.ct = ct
    expectSame(try prepare(exam, shared), try prepare(exam))
  }
}
