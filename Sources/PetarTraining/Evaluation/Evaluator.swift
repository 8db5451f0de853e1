import CPetar
import Petar
import Synchronization

/// Asks a model questions of a data set, as its users would: files, the runtime's preprocessing, greedy text.
package struct Evaluator {
  package let model: Model
  package let dataset: Dataset
  package let omitted: Set<OmittedInput>
  private let pool: ThreadPool
  private let session: Session

  package init(_ model: Model, _ dataset: Dataset, omitted: Set<OmittedInput> = [], threads: Int) throws {
    self.model = model
    self.dataset = dataset
    self.omitted = omitted
    pool = try ThreadPool(threads: threads)
    session = try Session(model: model, pool: pool)
  }

  /// Questions described side by side.
  private static let width = 8
  /// Exams held in memory at a time.
  private static let mostExams = 4

  /// - Parameters:
  ///   - checkpoint: called often; what it throws ends the work.
  ///   - onAnswer: called once for each question, with its index, as soon as it is answered or has failed.
  /// - Throws: what is wrong with a question's text; `PETAR_CANCELLED` or whatever `checkpoint` threw.
  package func run(
    _ questions: [Dataset.Question], checkpoint: () throws -> Void, onAnswer: (Int, Answer) -> Void
  ) throws {
    for indices in Self.chunks(questions) {
      try checkpoint()
      try describe(questions, indices, checkpoint, onAnswer)
    }
  }

  /// Indices of questions with the same words, about a few exams, so that each exam is read once for them.
  private static func chunks(_ questions: [Dataset.Question]) -> [[Int]] {
    struct Subject: Hashable { let question, exam: String }
    var firsts: [String: Int] = [:]
    for (index, question) in questions.enumerated() where firsts[question.question] == nil {
      firsts[question.question] = index
    }
    /// Where the words, and then where the exam are first met.
    func place(_ group: [Int]) -> (Int, Int) { (firsts[questions[group[0]].question] ?? 0, group[0]) }
    let groups = Dictionary(grouping: questions.indices) {
      Subject(question: questions[$0].question, exam: questions[$0].exam)
    }.values.sorted { place($0) < place($1) }

    var chunks: [[Int]] = []
    var exams = 0
    for group in groups {
      if let last = chunks.last, questions[last[0]].question == questions[group[0]].question, last.count < width,
        exams < mostExams
      {
        chunks[chunks.count - 1] += group
        exams += 1
      } else {
        chunks.append(group)
        exams = 1
      }
    }
    return chunks
  }

  private func describe(
    _ questions: [Dataset.Question], _ indices: [Int], _ checkpoint: () throws -> Void,
    _ onAnswer: (Int, Answer) -> Void
  ) throws {
    let volumes = load(indices.map { questions[$0] })
    func volume(_ file: File) throws -> Volume {
      guard let volume = volumes[file] else {
        throw PetarError(PETAR_ERROR_INTERNAL, "\(file.name) of exam \(file.exam) was lost")
      }
      return try volume.get()
    }
    var asked: [Int] = []
    var exams: [Exam] = []
    for index in indices {
      let question = questions[index]
      do {
        let (pet, ct, mask) = File.of(question)
        exams.append(
          Exam(pet: try volume(pet), ct: try volume(ct), mask: try volume(mask), label: question.label))
        asked.append(index)
      } catch {
        onAnswer(index, Answer(question, .failed(asPetarError(error).message)))
      }
    }
    guard let first = asked.first else { return }

    var request = DescribeRequest()
    request.question = questions[first].question
    if !omitted.isEmpty { request.alterViews = { [omitted] in try OmittedInput.apply(omitted, to: $0) } }
    try withoutActuallyEscaping(checkpoint) { checkpoint in
      var observer = DescribeObserver()
      observer.onProgress = { _, _ in
        do { try checkpoint() } catch { session.cancel() }
      }
      do {
        try session.describe(exams, request, width: Self.width, observer: observer) { at, result in
          let index = asked[at]
          switch result {
          case .success(let finding): onAnswer(index, Answer(questions[index], .said(finding.text)))
          case .failure(let error) where error.status == PETAR_CANCELLED: break
          case .failure(let error): onAnswer(index, Answer(questions[index], .failed(error.message)))
          }
        }
      } catch let error as PetarError where error.status == PETAR_CANCELLED {
        try checkpoint()
        throw error
      }
    }
  }

  // ---- Files --------------------------------------------------------------------------------------------------------

  private struct File: Hashable {
    let exam, name: String
    let unit: Volume.Unit

    static func of(_ question: Dataset.Question) -> (pet: File, ct: File, mask: File) {
      (
        File(exam: question.exam, name: "pet", unit: .suv), File(exam: question.exam, name: "ct", unit: .hu),
        File(exam: question.exam, name: question.map, unit: .label)
      )
    }
  }

  /// Reads what the questions are about, a file a thread.
  private func load(_ questions: [Dataset.Question]) -> [File: Result<Volume, PetarError>] {
    let files = Array(
      Set(
        questions.flatMap { question in
          let files = File.of(question)
          return [files.pet, files.ct, files.mask]
        }))
    let volumes = Mutex([File: Result<Volume, PetarError>]())
    pool.run(files.count) { at in
      let file = files[at]
      let path = dataset.path(exam: file.exam, file.name)
      let volume = Result { try Volume.read(niftiPath: path, unit: file.unit) }.mapError(asPetarError)
      volumes.withLock { $0[file] = volume }
    }
    return volumes.withLock { $0 }
  }
}
