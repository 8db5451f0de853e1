/// Guesses how a text goes on, from what stood behind the same words elsewhere: in the text itself, in findings written
/// before, and in the typical findings that came with the model.
///
/// Findings are formulaic, and the decoder reads a few tokens in the time of one, as long as it waits for its weights:
/// what is guessed right is gained (prompt lookup; Yang et al. 2023, arXiv 2304.04487; verified as in Leviathan et al.
/// 2023, arXiv 2211.17192). A guess never changes a text, only when its tokens are computed.
package struct Drafts {
  /// Texts one behind the other, each ended by `separator`; the oldest of `written` are forgotten.
  private var typical: [Int32]
  private var written: [Int32] = []
  /// How often a drafted token has turned out right lately, by the length of the match it rests on.
  private var confidence: [Double] = [0, 0.2, 0.5, 0.7, 0.7, 0.85, 0.85, 0.85, 0.9]

  private static let separator: Int32 = -1
  private static let longestMatch = 8
  private static let writtenLimit = 1 << 15

  /// What a row more costs, as a share of a step of one row: 8 rows of the 4B shape take 1.3 times as long as one.
  private static let rowCost = 0.04
  /// Tokens drafted at most.
  package static let limit = 7

  /// A draft and the match it rests on.
  package struct Draft {
    package var count = 0
    fileprivate var match = 0
  }

  /// - Parameter typical: token ids of typical findings.
  package init(typical: [[Int32]] = []) {
    self.typical = typical.reduce(into: [Self.separator]) { $0 += $1 + [Self.separator] }
    // All memory is taken here: decoding takes none.
    written.reserveCapacity(Self.writtenLimit)
    confidence.reserveCapacity(confidence.count)
  }

  package mutating func learn(written text: [Int32]) {
    guard text.count < Self.writtenLimit / 2 else { return }
    if written.count + text.count + 1 > Self.writtenLimit { written.removeFirst(Self.writtenLimit / 2) }
    written += text
    written.append(Self.separator)
  }

  /// Appends to `ids` how `text` may go on.
  ///
  /// - Parameters:
  ///   - limit: tokens at most.
  ///   - texts: how many texts are read side by side. They share the step, so that a row more must gain more.
  package mutating func propose(
    after text: [Int32], limit: Int, texts: Int, into ids: inout [Int32]
  ) -> Draft {
    guard limit > 0, !text.isEmpty else { return Draft() }
    // The longest match counts; of several the one closest to the text.
    var best = Match()
    var words: [Int32] = []
    func consider(_ source: [Int32], before end: Int) {
      guard best.length < Self.longestMatch else { return }
      let match = Self.match(text, in: source, before: end)
      if match.length > best.length { (best, words) = (match, source) }
    }
    consider(text, before: text.count - 1)
    consider(written, before: written.count)
    consider(typical, before: typical.count)
    guard best.length > 0 else { return Draft() }

    let probability = confidence[best.length]
    let least = Self.rowCost * Double(max(texts, 1))
    var draft = Draft(count: 0, match: best.length)
    var reached = probability
    var at = best.end
    while draft.count < limit, reached >= least, at < words.count, words[at] != Self.separator {
      ids.append(words[at])
      draft.count += 1
      at += 1
      reached *= probability
    }
    // Not trusted now: after a while it is tried again.
    if draft.count == 0 { confidence[best.length] += 0.0005 }
    return draft
  }

  /// A place in a source where the words stand that a text ends with: how many of them, and what follows.
  private struct Match {
    var length = 0
    var end = 0
  }

  /// The longest match that ends before `end` and has something behind it; of several the last.
  private static func match(_ text: [Int32], in source: [Int32], before end: Int) -> Match {
    var best = Match()
    source.withUnsafeBufferPointer { source in
      text.withUnsafeBufferPointer { text in
        let last = text.count - 1
        for at in stride(from: min(end, source.count - 1) - 1, through: 0, by: -1)
        where source[at] == text[last] && source[at + 1] != separator {
          var length = 1
          while length < longestMatch, length <= min(at, last), source[at - length] == text[last - length] {
            length += 1
          }
          if length > best.length { best = Match(length: length, end: at + 1) }
          if length == longestMatch { return }
        }
      }
    }
    return best
  }

  /// Remembers how many tokens of a draft were right.
  package mutating func judge(_ draft: Draft, accepted: Int) {
    guard draft.count > 0 else { return }
    for token in 0..<min(accepted + 1, draft.count) {
      confidence[draft.match] += 0.1 * ((token < accepted ? 1 : 0) - confidence[draft.match])
    }
  }
}
