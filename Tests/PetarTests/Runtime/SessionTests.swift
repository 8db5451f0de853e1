import CPetar
import Petar
import PetarConversion
import Testing

@Suite("Session") struct SessionTests {
  private func logits(_ session: Session, _ ids: [Int32], last: Int) throws -> [UInt32] {
    var values = [Float](repeating: .nan, count: last * session.model.description.decoder.vocabulary)
    try values.withUnsafeMutableBufferPointer { values in
      guard let base = values.baseAddress else { return }
      try session.logits(vision: nil, ids: ids, last: last, into: base)
    }
    return bits(values)
  }

  /// 30 tokens in one block, and each prefix by itself: what prefill, decode and teacher forcing rest on.
  @Test("A position's logits do not depend on how many are computed together", arguments: Encoding.allCases)
  func prefixes(_ weights: Encoding) throws {
    let model = try tinyModel(weights)
    let session = try Session(model: model, pool: ThreadPool(threads: 2))
    let ids = (0..<30).map { Int32($0 * 31 % 900 + 3) }
    let together = try logits(session, ids, last: ids.count)
    let vocabulary = model.description.decoder.vocabulary
    for count in 1...ids.count {
      let alone = try logits(session, Array(ids.prefix(count)), last: 1)
      #expect(alone == Array(together[((count - 1) * vocabulary)..<(count * vocabulary)]))
    }
  }

  @Test func aLongPromptIsComputedInBlocks() throws {
    let model = try tinyModel(.f32, context: 1100)
    let session = try Session(model: model, pool: ThreadPool(threads: 1))
    let ids = (0..<1100).map { Int32($0 * 17 % 900 + 3) }
    let all = try logits(session, ids, last: ids.count)
    let vocabulary = model.description.decoder.vocabulary
    for count in [512, 513, 1024, 1025, 1100] {
      let alone = try logits(session, Array(ids.prefix(count)), last: 1)
      #expect(alone == Array(all[((count - 1) * vocabulary)..<(count * vocabulary)]))
    }
    let error = #expect(throws: PetarError.self) { try logits(session, ids + [5], last: 1) }
    #expect(error?.status == PETAR_ERROR_CONTEXT_FULL)
  }

  @Test func theTypicalFindingsOfAModelAreDraftedFrom() throws {
    let findings = ["There is no lesion.", "Please describe the region highlighted in the PET image."]
    let model = try tinyModel(.f32) { $0.typicalFindings = findings }
    #expect(model.description.prompt.typicalFindings == findings)
    let session = try Session(model: model, pool: ThreadPool(threads: 1))
    let ids = model.tokenizer.encode(findings[1], addBOS: false)
    var draft: [Int32] = []
    _ = session.drafts.propose(after: Array(ids.prefix(4)), limit: 2, texts: 1, into: &draft)
    #expect(draft.count == 2 && draft == Array(ids[4..<6]))
  }

  @Test func idsAndVisionRowsMustFit() throws {
    let model = try tinyModel(.f32)
    let session = try Session(model: model, pool: ThreadPool(threads: 1))
    let image = model.description.prompt.imageToken
    for (ids, status) in [
      ([Int32(1), -1], PETAR_ERROR_BAD_TEXT), ([1, 1008], PETAR_ERROR_BAD_TEXT),
      ([1, image], PETAR_ERROR_INVALID_ARGUMENT),
    ] {
      let error = #expect(throws: PetarError.self) { try logits(session, ids, last: 1) }
      #expect(error?.status == status)
    }
  }

  /// Finite weights, whose products are not.
  @Test func infiniteValuesAreNotHandedOut() throws {
    let model = try tinyModel(.f32) { checkpoint in
      for name in ["lm_head.weight", "model.mm_projector.projector.2.weight"] {
        checkpoint.change(name) { $0.values = $0.values.map { $0 < 0 ? -3e38 : 3e38 } }
      }
    }
    let session = try Session(model: model, pool: ThreadPool(threads: 2))
    let exam = try ImagingPhantom.exam(pet: { $0.z == 49 ? 8 : 1 }, lesion: ImagingPhantom.ball(SIMD3(20, 18, 25), 3))
    let views = try session.prepare(exam)
    for call: () throws -> Void in [
      { _ = try logits(session, [1, 300, 301], last: 2) }, { _ = try session.encode(views) },
      { _ = try session.describe(exam) },
    ] {
      let error = #expect(throws: PetarError.self) { try call() }
      #expect(error?.status == PETAR_ERROR_NOT_FINITE)
    }
  }

  /// From a callback it is the same thread that asks; a cancel in the call's first moment counts, and ends that call alone.
  @Test func aCallIsAloneAndItsCancelIsItsOwn() throws {
    let session = try Session(model: tinyModel(.f32), pool: ThreadPool(threads: 1))
    let exam = try ImagingPhantom.exam(SIMD3(8, 8, 8)) { _ in 1 }
    var observer = DescribeObserver()
    observer.onProgress = { _, _ in
      let error = #expect(throws: PetarError.self) { try logits(session, [1], last: 1) }
      #expect(error?.status == PETAR_ERROR_BUSY && error?.message.contains("already in a call") == true)
      session.cancel()
      session.cancel()
    }
    for _ in 0..<3 {
      let error = #expect(throws: PetarError.self) { try session.describe(exam, observer: observer) }
      #expect(error?.status == PETAR_CANCELLED)
      session.cancel()
      _ = try logits(session, [1], last: 1)
    }
  }
}
