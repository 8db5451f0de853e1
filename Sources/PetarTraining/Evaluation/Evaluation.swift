import CPetar
import Glibc
import Petar

/// A model's answers to the questions of a part of a data set, and what they are worth.
package struct Evaluation: Sendable {
  /// Of the model, as every finding carries it.
  package let model: JSON
  package let hash: String
  package let folder: String
  package let selection: Dataset.Selection
  package let omitted: Set<OmittedInput>
  /// In the order of the data set.
  package let answers: [Answer]
  package let seconds: Double
  package let scores: Scores

  package init(_ evaluator: Evaluator, _ selection: Dataset.Selection, answers: [Answer], seconds: Double) {
    model = evaluator.model.identity
    hash = evaluator.model.file.hash
    folder = evaluator.dataset.folder
    omitted = evaluator.omitted
    self.selection = selection
    self.answers = answers
    self.seconds = seconds
    scores = Scores(answers)
  }

  package var json: JSON {
    guard case .object(let members) = scores.json else { return .null }
    return .object(
      [
        ("model", model), ("library", .string("\(Library.version)")), ("data", .string(folder)),
        ("split", .string(selection.split.rawValue)),
        ("task", selection.task.map { .string($0.rawValue) } ?? .null),
        ("limit", selection.limit.map { .integer($0) } ?? .null),
        ("without", .array(omitted.names.map { .string($0) })),
        ("questions", .integer(answers.count)),
      ] + members + [("seconds", .number(seconds)), ("notice", .string(Finding.notice))])
  }
}

/// Where an evaluation is kept: predictions.jsonl, and scores.json once it is complete.
package struct EvaluationFolder: Sendable {
  package let path: String

  /// Makes the folder, so that a wrong name is known before the work.
  /// - Throws: `PETAR_ERROR_IO`; `PETAR_ERROR_INVALID_ARGUMENT` if a complete evaluation is there already.
  package init(_ path: String) throws {
    self.path = path
    guard mkdir(path, 0o755) == 0 || errno == EEXIST else { throw fileError(path, errno) }
    guard access(path + "/scores.json", F_OK) != 0 else {
      throw PetarError(
        PETAR_ERROR_INVALID_ARGUMENT,
        "\(path) holds a complete evaluation already; give another folder, nothing is overwritten")
    }
  }

  /// - Parameter complete: false for what was answered before an interruption.
  /// - Throws: `PETAR_ERROR_IO`.
  package func write(_ evaluation: Evaluation, complete: Bool) throws {
    let lines = evaluation.answers.map { $0.json(hash: evaluation.hash, omitted: evaluation.omitted).text + "\n" }
    try writeFile(Array(lines.joined().utf8), path: path + "/predictions.jsonl")
    if complete { try writeFile(Array((evaluation.json.text + "\n").utf8), path: path + "/scores.json") }
  }
}

extension Dataset {
  /// Which questions are asked.
  package struct Selection: Sendable {
    package var split: Split
    /// nil for all.
    package var task: Task?
    /// This many at most, spread evenly; nil for all.
    package var limit: Int?

    package init(split: Split, task: Task? = nil, limit: Int? = nil) {
      self.split = split
      self.task = task
      self.limit = limit
    }
  }

  /// In the order of the file.
  /// - Throws: `PETAR_ERROR_INVALID_ARGUMENT` when there are none.
  package func questions(_ selection: Selection) throws -> [Question] {
    let all = questions.filter {
      $0.split == selection.split && (selection.task == nil || $0.task == selection.task)
    }
    guard !all.isEmpty else {
      let task = selection.task.map { " of task \($0)" } ?? ""
      throw PetarError(PETAR_ERROR_INVALID_ARGUMENT, "\(folder): the split \(selection.split) has no questions\(task)")
    }
    guard let limit = selection.limit, limit < all.count else { return all }
    return (0..<limit).map { all[$0 * all.count / limit] }
  }
}
