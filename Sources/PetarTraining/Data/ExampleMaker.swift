import CPetar
import Petar

/// Makes training examples of questions: the exam's files, the runtime's own preprocessing, the model's tokens.
package struct ExampleMaker: Sendable {
  package let dataset: Dataset
  private let model: ModelDescription
  private let tokenizer: Tokenizer
  /// The image tokens as text, which stand in front of every question.
  private let image: String
  private let omitted: Set<OmittedInput>

  /// - Throws: `PETAR_ERROR_BAD_TEXT` when the tokenizer does not know the model's image token.
  package init(
    _ dataset: Dataset, _ model: ModelDescription, _ tokenizer: Tokenizer, omitted: Set<OmittedInput> = []
  ) throws {
    self.dataset = dataset
    self.model = model
    self.tokenizer = tokenizer
    self.omitted = omitted
    image = String(
      repeating: try tokenizer.decode([model.prompt.imageToken], keepSpecial: true), count: model.visionTokens)
  }

  /// What the model reads when it is asked, then the answer and the end of the text.
  package func tokens(of question: Dataset.Question) -> (ids: [Int32], answer: Range<Int>) {
    let prompt = tokenizer.encode(image + question.question, addBOS: true)
    let ids = prompt + tokenizer.encode(question.answer, addBOS: false) + model.prompt.endOfText.prefix(1)
    return (ids, prompt.count..<ids.count)
  }

  /// The volumes of an exam, each label map read when it is first asked for.
  package struct Volumes {
    fileprivate let pet: Volume
    fileprivate let ct: Volume
    fileprivate let prepared = PreparedExam()
    fileprivate var maps: [String: Volume] = [:]
  }

  /// - Throws: what reading a NIfTI file throws.
  package func volumes(of exam: String) throws -> Volumes {
    Volumes(
      pet: try Volume.read(niftiPath: dataset.path(exam: exam, "pet"), unit: .suv),
      ct: try Volume.read(niftiPath: dataset.path(exam: exam, "ct"), unit: .hu))
  }

  /// What the model sees of the mask that `question` is about.
  /// - Throws: what `prepareViews` throws, and reading the label map.
  package func views(
    _ question: Dataset.Question, _ volumes: inout Volumes, jitter: ViewJitter, pool: ThreadPool
  ) throws -> Views {
    if volumes.maps[question.map] == nil {
      volumes.maps[question.map] = try Volume.read(
        niftiPath: dataset.path(exam: question.exam, question.map), unit: .label)
    }
    guard let map = volumes.maps[question.map] else {
      throw PetarError(PETAR_ERROR_INTERNAL, "the map \(question.map) was lost")
    }
    let exam = Exam(pet: volumes.pet, ct: volumes.ct, mask: map, label: question.label)
    let views = try prepareViews(
      exam, model.views, jitter: jitter, shared: volumes.prepared, pool: pool, isCancelled: { false },
      progress: { _ in })
    return try OmittedInput.apply(omitted, to: views)
  }

  package func example(_ question: Dataset.Question, _ views: Views) -> TrainingExample {
    let (ids, answer) = tokens(of: question)
    return TrainingExample(global: views.global, focal: views.focal, ids: ids, answer: answer)
  }
}
