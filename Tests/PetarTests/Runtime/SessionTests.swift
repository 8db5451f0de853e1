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
}
