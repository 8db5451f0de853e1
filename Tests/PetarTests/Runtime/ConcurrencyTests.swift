import CPetar
import Petar
import Synchronization
import Testing

/// Run by themselves under ThreadSanitizer too: `make test-threads`.
@Suite("Concurrency") struct ConcurrencyTests {
  @Test func eightSessionsOfOneModelDoNotDisturbEachOther() async throws {
    let model = try tinyModel(.q8)
    let exam = try ImagingPhantom.exam(
      pet: { $0.z == 49 ? 8 : Float(($0.x &* 3 &+ $0.y &* 5 &+ $0.z &* 7) % 11) / 4 },
      lesion: ImagingPhantom.ball(SIMD3(15, 18, 25), 3))
    var request = DescribeRequest()
    request.maxTokens = 25
    let alone = try Session(model: model, pool: ThreadPool(threads: 1)).describe(exam, request).tokens
    try await withThrowingTaskGroup { group in
      for index in 0..<8 {
        group.addTask { [request] in
          let session = try Session(model: model, pool: ThreadPool(threads: 1 + index % 3))
          var texts = [[Int32]](repeating: [], count: 3)
          try session.describe([exam, exam, exam], request, side: 1 + index % 2) {
            texts[$0] = (try? $1.get().tokens) ?? []
          }
          return texts
        }
      }
      for try await texts in group { #expect(texts == [alone, alone, alone]) }
    }
  }

  /// A second call on a session is refused, and cancelling from another thread ends the first.
  @Test func aSessionServesOneThreadAtATime() async throws {
    let model = try tinyModel(.f32)
    let session = try Session(model: model, pool: ThreadPool(threads: 2))
    let exam = try ImagingPhantom.exam(lesion: ImagingPhantom.ball(SIMD3(15, 18, 25), 3))
    let begun = Atomic(false)
    try await withThrowingTaskGroup { group in
      group.addTask {
        var observer = DescribeObserver()
        observer.onProgress = { _, _ in begun.store(true, ordering: .releasing) }
        var request = DescribeRequest()
        request.maxTokens = 400
        return try session.describe(exam, request, observer: observer).tokens
      }
      while !begun.load(ordering: .acquiring) { await Task.yield() }
      let busy = #expect(throws: PetarError.self) { try session.prepare(exam) }
      #expect(busy?.status == PETAR_ERROR_BUSY)
      session.cancel()
      await #expect(throws: PetarError.self) { _ = try await group.next() }
    }
  }
}
