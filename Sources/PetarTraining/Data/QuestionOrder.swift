import Petar

/// In which order a stage goes through its questions: the same for the same seed, whatever is kept in memory and
/// wherever a run was interrupted.
///
/// An epoch takes the exams in a random order, in groups. The questions of a group come shuffled, so that a batch is
/// mixed, while each exam needs to be read once.
package struct QuestionOrder: Sendable {
  package struct Place: Sendable, Hashable {
    /// Index of the question in the data set.
    package let question: Int
    /// Which of the jittered versions of its views.
    package let version: Int
  }

  /// Exams read before the first of their questions is asked.
  package static let groupSize = 32

  /// Questions of each exam, as indices into the data set.
  private let exams: [[Int]]
  private let questionsPerExam: Int
  private let versions: Int
  private let seed: UInt64

  /// - Parameters:
  ///   - questions: of the data set; those for which `isWanted` holds are taken.
  ///   - questionsPerExam: at most so many of each exam in an epoch, others in the next.
  ///   - versions: epochs take turns with so many jittered versions of the views.
  package init(
    _ questions: [Dataset.Question], questionsPerExam: Int = .max, versions: Int, seed: UInt64,
    where isWanted: (Dataset.Question) -> Bool
  ) {
    var places: [String: Int] = [:]
    var exams: [[Int]] = []
    for (index, question) in questions.enumerated() where isWanted(question) {
      if let place = places[question.exam] {
        exams[place].append(index)
      } else {
        places[question.exam] = exams.count
        exams.append([index])
      }
    }
    self.exams = exams
    self.questionsPerExam = questionsPerExam
    self.versions = versions
    self.seed = seed
  }

  /// Questions of an epoch.
  package var count: Int { exams.reduce(0) { $0 + min($1.count, questionsPerExam) } }

  package func groups(epoch: Int) -> [[Place]] {
    var random = SplitMix64(seed: seed &+ UInt64(epoch) &* 0x9FB2_1C65_1E98_DF25)
    let order = exams.indices.shuffled(using: &random)
    return stride(from: 0, to: order.count, by: Self.groupSize).map { first in
      order[first..<min(first + Self.groupSize, order.count)].flatMap { exam in
        exams[exam].shuffled(using: &random).prefix(questionsPerExam)
          .map { Place(question: $0, version: epoch % versions) }
      }.shuffled(using: &random)
    }
  }

  /// How the views of a place are jittered.
  package func jitter(_ place: Place) -> ViewJitter {
    var random = SplitMix64(
      seed: seed ^ UInt64(place.question) &* 0xD6E8_FEB8_6659_FD93 &+ UInt64(place.version) &* 0xA5A3_5625_27D9_B1C5)
    return ViewJitter(&random)
  }
}
