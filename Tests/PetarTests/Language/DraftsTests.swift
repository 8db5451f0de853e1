import Petar
import Testing

@Suite("Drafts") struct DraftsTests {
  private func draft(_ drafts: inout Drafts, after text: [Int32], limit: Int = 7, texts: Int = 1) -> [Int32] {
    var ids: [Int32] = []
    _ = drafts.propose(after: text, limit: limit, texts: texts, into: &ids)
    return ids
  }

  @Test func theLongestMatchCounts() {
    var drafts = Drafts()
    drafts.learn(written: [1, 2, 3, 4, 5, 50, 51, 52])
    drafts.learn(written: [9, 3, 4, 5, 60, 61, 62])
    #expect(draft(&drafts, after: [2, 3, 4, 5], limit: 2) == [50, 51])
    #expect(draft(&drafts, after: [9, 3, 4, 5], limit: 2) == [60, 61])
    // As long a match in both: the later one is closer.
    #expect(draft(&drafts, after: [7, 3, 4, 5], limit: 2) == [60, 61])
    #expect(draft(&drafts, after: [100]).isEmpty)
  }

  @Test func aDraftEndsWhereItsTextEnds() {
    var drafts = Drafts(typical: [[1, 2, 3, 4, 5, 6, 7, 8], [10, 11]])
    #expect(draft(&drafts, after: [1, 2, 3, 4, 5]) == [6, 7, 8])
    #expect(draft(&drafts, after: [4, 5, 6, 7, 8]).isEmpty)
  }

  @Test func aTextIsGuessedFromItsOwnBeginning() {
    var drafts = Drafts()
    #expect(draft(&drafts, after: [1, 2, 3, 4, 5, 6, 7, 8, 9, 1, 2, 3, 4, 5], limit: 3) == [6, 7, 8])
  }

  /// Wrong guesses soon cost next to nothing; right ones make drafts as long as they may be.
  @Test func confidenceFollowsWhatTurnsOutRight() {
    var drafts = Drafts(typical: [[1, 2, 3, 4, 5, 6, 7, 8, 9, 10]])
    func steps(accepted: Int) -> [Int] {
      (0..<200).map { _ in
        var ids: [Int32] = []
        let draft = drafts.propose(after: [100, 2], limit: 7, texts: 1, into: &ids)
        drafts.judge(draft, accepted: min(accepted, draft.count))
        return draft.count
      }
    }
    let wrong = steps(accepted: 0)
    #expect(wrong.suffix(100).reduce(0, +) < 30)
    #expect(wrong.suffix(100).contains { $0 > 0 })
    #expect(steps(accepted: 7).last == 7)
  }

  @Test func textsSideBySideDraftLess() {
    var drafts = Drafts(typical: [[1, 2, 3, 4, 5, 6, 7, 8, 9]])
    #expect(draft(&drafts, after: [50, 1, 2], texts: 1).count > draft(&drafts, after: [50, 1, 2], texts: 8).count)
  }

  @Test func longMemoryForgetsTheOldest() {
    var drafts = Drafts()
    for text in 0..<3000 { drafts.learn(written: (0..<20).map { Int32(text * 20 + $0) }) }
    #expect(draft(&drafts, after: [0, 1, 2, 3]).isEmpty)
    #expect(draft(&drafts, after: [59_980, 59_981], limit: 1) == [59_982])
  }
}
