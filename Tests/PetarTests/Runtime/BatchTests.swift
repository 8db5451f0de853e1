import CPetar
import Petar
import Testing

@Suite("Batch") struct BatchTests {
  /// Seven lesions in different places of one body.
  private func exams() throws -> [Exam] {
    try (0..<7).map { index in
      try ImagingPhantom.exam(
        pet: { $0.z == 49 ? 8 : Float(($0.x &* 3 &+ $0.y &* 5 &+ $0.z &* 7) % 11) / 4 },
        lesion: ImagingPhantom.ball(SIMD3(10 + 3 * index, 18, 20 + 2 * index), 3))
    }
  }

  private func session(_ model: Model, threads: Int = 2) throws -> Session {
    try Session(model: model, pool: ThreadPool(threads: threads))
  }

  /// Tokens of each lesion, and the passes that all of them took together.
  private func describe(
    _ session: Session, _ exams: [Exam], _ request: DescribeRequest, width: Int
  ) throws -> (tokens: [[Int32]], passes: Int) {
    var tokens = [[Int32]](repeating: [], count: exams.count)
    var passes = 0
    try session.describe(exams, request, width: width) { index, result in
      do {
        let finding = try result.get()
        tokens[index] = finding.tokens
        passes += finding.passes
      } catch {
        Issue.record("lesion \(index): \(error)")
      }
    }
    return (tokens, passes)
  }

  /// One token in twenty ends a text, so that lesions leave and enter at different times.
  private func wordyModel(_ weights: Encoding) throws -> Model {
    try tinyModel(weights) { $0.generation = "{\"eos_token_id\": \(Array(952...1001))}" }
  }

  /// Greedy and sampled. Two lesions come again at the end, whose texts are guessed from those before.
  @Test("Lesions side by side get the texts they get one by one", arguments: Encoding.allCases)
  func sideBySide(_ weights: Encoding) throws {
    let model = try wordyModel(weights)
    let exams = try exams() + exams().prefix(2)
    for temperature: Float in [0, 1.5] {
      var request = DescribeRequest()
      request.maxTokens = 40
      request.temperature = temperature
      request.seed = 7
      request.drafts = false
      let findings = try exams.map { try session(model).describe($0, request) }
      let alone = findings.map(\.tokens)
      let passes = findings.reduce(0) { $0 + $1.passes }
      #expect(Set(alone).count > 1 && Set(alone.map(\.count)).count > 1)
      for drafts in [false, true] {
        request.drafts = drafts
        for (width, threads) in [(1, 3), (3, 2), (7, 1)] {
          let together = try describe(session(model, threads: threads), exams, request, width: width)
          #expect(together.tokens == alone)
          // Seven leave each other room for one drafted token, which may not be worth it.
          #expect(drafts && width < 7 ? together.passes < passes : together.passes <= passes, "\(width) side by side")
        }
      }
    }
  }

  /// As many as there is room for, and more that wait.
  @Test("Sixteen lesions side by side get the texts they get one by one", arguments: [Encoding.q8, .q4])
  func sixteen(_ weights: Encoding) throws {
    let model = try wordyModel(weights)
    let exams = try Array((exams() + exams() + exams()).prefix(19))
    var request = DescribeRequest()
    request.maxTokens = 40
    request.temperature = 1.5
    request.seed = 7
    let alone = try exams.map { try session(model).describe($0, request).tokens }
    #expect(Set(alone.map(\.count)).count > 1)
    #expect(try describe(session(model), exams, request, width: 16).tokens == alone)
  }

  /// A whole view spans 80 slices on either side of the lesion's middle: the CT's is the same for two lesions at one
  /// height, and for all lesions of a short scan.
  @Test("Lesions with the same view of the CT share its pass", arguments: [Encoding.f32, .q8])
  func sharedPass(_ weights: Encoding) throws {
    let model = try tinyModel(weights)
    func exams(slices: Int) throws -> [Exam] {
      let shape = SIMD3(20, 18, slices)
      let ct = try ImagingPhantom.volume(shape, ImagingPhantom.affine(spacing: SIMD3(3, 3, 3)), .hu) {
        Float(($0.x &+ $0.y &* 5 &+ $0.z &* $0.z) % 23 &* 10)
      }
      return try [(5, 20), (12, 20), (12, 50), (5, 20)].map { x, z in
        var exam = try ImagingPhantom.exam(shape, lesion: ImagingPhantom.ball(SIMD3(x, 9, z), 2))
        exam.ct = ct
        return exam
      }
    }
    #expect(try encodedLayers(model, exams(slices: 120)) == [4, 3, 4, 4])
    #expect(try encodedLayers(model, exams(slices: 60)) == [4, 3, 3, 3])
  }

  /// How many layers of towers each lesion took in a batch, whose texts have to be those of lesions alone.
  private func encodedLayers(_ model: Model, _ exams: [Exam]) throws -> [Int] {
    var request = DescribeRequest()
    request.maxTokens = 20
    request.temperature = 1.5
    request.seed = 7
    let alone = try exams.map { try session(model).describe($0, request).tokens }
    #expect(Set(alone).count > 1)
    var layers = [Int](repeating: 0, count: exams.count)
    var observer = DescribeObserver()
    observer.onProgress = { stage, fraction in
      // A lesion's last layer stands at its end.
      if "\(stage)" == "encode" { layers[Int((fraction * Double(exams.count)).rounded(.up)) - 1] += 1 }
    }
    var tokens = [[Int32]](repeating: [], count: exams.count)
    try session(model).describe(exams, request, width: 2, observer: observer) { index, result in
      tokens[index] = (try? result.get())?.tokens ?? []
    }
    #expect(tokens == alone)
    return layers
  }

  @Test func whatFailsForOneLesionStopsNoOther() throws {
    let model = try tinyModel(.f32)
    var exams = try exams()
    exams[2] = try ImagingPhantom.exam { _ in 0 }
    var request = DescribeRequest()
    request.maxTokens = 5
    let session = try session(model)
    var ended: [Int] = []
    try session.describe(exams, request, width: 3) { index, result in
      ended.append(index)
      switch result {
      case .success: #expect(index != 2)
      case .failure(let error): #expect(index == 2 && error.status == PETAR_ERROR_EMPTY_MASK)
      }
    }
    #expect(ended.sorted() == Array(0..<7))
  }

  @Test func cancelledLesionsAreToldSo() throws {
    let model = try tinyModel(.f32)
    let session = try session(model)
    var request = DescribeRequest()
    request.maxTokens = 30
    var observer = DescribeObserver()
    observer.onToken = { index, _, _ in if index == 4 { session.cancel() } }
    var statuses: [Int: petar_status] = [:]
    let error = #expect(throws: PetarError.self) {
      try session.describe(exams(), request, width: 2, observer: observer) { index, result in
        #expect(statuses[index] == nil)
        if case .failure(let error) = result { statuses[index] = error.status } else { statuses[index] = PETAR_OK }
      }
    }
    #expect(error?.status == PETAR_CANCELLED)
    #expect(statuses.count == 7)
    #expect(statuses[0] == PETAR_OK && statuses[4] == PETAR_CANCELLED && statuses[6] == PETAR_CANCELLED)
    // The session goes on.
    #expect(try describe(session, exams(), request, width: 7).tokens.allSatisfy { !$0.isEmpty })
  }

  @Test func progressGrowsInEveryStage() throws {
    let model = try tinyModel(.f32)
    var request = DescribeRequest()
    request.maxTokens = 12
    var last: [String: Double] = [:]
    var observer = DescribeObserver()
    observer.onProgress = { stage, fraction in
      #expect(fraction >= last["\(stage)"] ?? 0 && fraction <= 1, "\(stage): \(fraction) after \(last)")
      last["\(stage)"] = fraction
    }
    try session(model).describe(exams(), request, width: 3, observer: observer) { _, _ in }
    #expect(last == ["prepare": 1, "encode": 1, "prefill": 1, "decode": 1])
  }

  /// A text that repeats itself is guessed from its own words; the same text again, from the finding before.
  @Test func rightDraftsSavePasses() throws {
    let model = try tinyModel(.q8)
    let session = try session(model)
    let exam = try exams()[0]
    var request = DescribeRequest()
    let phrase: [Int32] = [5, 9, 13, 7, 40, 41, 42, 43, 8, 77, 78, 79, 300, 301, 302, 303]
    request.replay = phrase
    request.maxTokens = 96
    let first = try session.describe(exam, request)
    #expect(first.tokens == Array((0..<6).flatMap { _ in phrase }))
    #expect(first.passes < 48)
    let second = try session.describe(exam, request)
    #expect(second.tokens == first.tokens && second.passes < 20)
    request.drafts = false
    #expect(try session.describe(exam, request).passes == 95)
  }
}
