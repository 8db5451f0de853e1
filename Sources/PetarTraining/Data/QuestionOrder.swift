import Petar

/// In which order a stage goes through its questions: the same for the same seed, whatever is kept in memory and
/// wherever a run was interrupted.
///
/// An epoch takes the exams in a random order, in groups. The masks of a group come shuffled, so that a batch is mixed,
/// while each exam needs to be read once. The questions about a mask follow each other, so that it is seen once for all
/// of them. Where views are so large that those of a group would fill the memory, it comes in parts, each shuffled; an
/// exam between two parts is read twice.
package struct QuestionOrder: Sendable {
  package struct Place: Sendable, Hashable {
    /// Index of the question in the data set.
    package let question: Int
    package let sight: Sight
  }

  /// What is seen of an exam when a question is asked: the same for all questions about a mask.
  package struct Sight: Sendable, Hashable {
    /// Index of the first question about this mask.
    package let mask: Int
    /// Which of the jittered versions of its views.
    package let version: Int

    /// How its views are jittered in a run of this seed.
    package func jitter(seed: UInt64) -> ViewJitter {
      var random = SplitMix64(
        seed: seed ^ UInt64(mask) &* 0xD6E8_FEB8_6659_FD93 &+ UInt64(version) &* 0xA5A3_5625_27D9_B1C5)
      return ViewJitter(&random)
    }
  }

  /// Exams read before the first of their questions is asked.
  package static let groupSize = 32

  /// Masks that a group shows of views of this extent at most: what fits into a GiB, but one at least.
  package static func masksPerGroup(_ extent: ModelDescription.Extent) -> Int {
    max((1 << 30) / max(extent.viewBytes, 1), 1)
  }

  /// Questions of each exam, as indices into the data set.
  private let exams: [[Int]]
  /// For each question of the data set, the first one about the same mask.
  private let masks: [Int]
  private let questionsPerExam: Int
  private let masksPerGroup: Int
  private let versions: Int
  private let seed: UInt64

  /// - Parameters:
  ///   - questions: of the data set; those for which `isWanted` holds are taken.
  ///   - questionsPerExam: at most so many of each exam in an epoch, others in the next.
  ///   - masksPerGroup: at most.
  ///   - versions: epochs take turns with so many jittered versions of the views.
  package init(
    _ questions: [Dataset.Question], questionsPerExam: Int = .max, masksPerGroup: Int = .max, versions: Int,
    seed: UInt64,
    where isWanted: (Dataset.Question) -> Bool
  ) {
    exams = questions.indices.filter { isWanted(questions[$0]) }.grouped { questions[$0].exam }
    var firsts: [Mask: Int] = [:]
    masks = questions.enumerated().map { index, question in
      let mask = Mask(exam: question.exam, map: question.map, label: question.label)
      let first = firsts[mask] ?? index
      firsts[mask] = first
      return first
    }
    self.questionsPerExam = questionsPerExam
    self.masksPerGroup = masksPerGroup
    self.versions = versions
    self.seed = seed
  }

  /// Masks asked about in some epoch.
  package var askedMasks: Set<Int> { Set(exams.joined().map { masks[$0] }) }

  /// Questions of an epoch.
  package var count: Int { exams.reduce(0) { $0 + min($1.count, questionsPerExam) } }

  package func groups(epoch: Int) -> [[Place]] {
    var random = SplitMix64(seed: seed &+ UInt64(epoch) &* 0x9FB2_1C65_1E98_DF25)
    let order = exams.indices.shuffled(using: &random)
    return order.cut(into: Self.groupSize).flatMap { group in
      group.flatMap { exam in
        exams[exam].shuffled(using: &random).prefix(questionsPerExam).grouped { masks[$0] }
      }.cut(into: masksPerGroup).map { part in
        part.shuffled(using: &random).joined().map {
          Place(question: $0, sight: Sight(mask: masks[$0], version: epoch % versions))
        }
      }
    }
  }

  private struct Mask: Hashable {
    let exam: String
    let map: String
    let label: Int32
  }
}

extension Array {
  /// Pieces of `size` elements; the last one has what is left.
  fileprivate func cut(into size: Int) -> [ArraySlice<Element>] {
    stride(from: 0, to: count, by: size).map { self[$0..<($0 + Swift.min(size, count - $0))] }
  }
}

extension Sequence {
  /// The elements of each key together, in the order in which the keys first occur.
  fileprivate func grouped<Key: Hashable>(by key: (Element) -> Key) -> [[Element]] {
    var groups: [[Element]] = []
    var places: [Key: Int] = [:]
    for element in self {
      if let place = places[key(element)] {
        groups[place].append(element)
      } else {
        places[key(element)] = groups.count
        groups.append([element])
      }
    }
    return groups
  }
}
