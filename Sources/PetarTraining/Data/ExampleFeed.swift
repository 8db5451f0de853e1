import CPetar
import Foundation
import Petar
import Synchronization

/// Batches of examples in the order of a stage, made ahead of time by a thread in the background.
package final class ExampleFeed: Sendable {
  /// What is done with an exam that cannot be read or prepared.
  package enum BrokenExams: String, CaseIterable, Sendable { case refuse, skip }

  private let shared = Shared()

  /// - Parameters:
  ///   - jitters: whether views are jittered, each place in its own way.
  ///   - firstBatch: batches before it are left out.
  ///   - memory: bytes of examples kept for the next time their version comes round.
  ///   - threads: exams read at a time.
  ///   - onSkip: told, on the background thread, which question is skipped and why.
  package init(
    _ maker: ExampleMaker, _ order: QuestionOrder, jitters: Bool, batch: Int, firstBatch: Int, batches: Int,
    memory: Int, threads: Int, broken: BrokenExams, onSkip: @escaping @Sendable (Dataset.Question, PetarError) -> Void
  ) {
    let shared = shared
    let thread = Thread {
      // Training waits for its slowest thread many times a millisecond. This one and those it starts take what training
      // leaves of the processors, and all of them when it waits for examples.
      setpriority(__priority_which_t(PRIO_PROCESS.rawValue), 0, 19)
      do {
        let producer = Producer(
          maker: maker, order: order, jitters: jitters, batch: batch, memory: memory, broken: broken,
          pool: try ThreadPool(threads: threads), alone: try ThreadPool(threads: 1), onSkip: onSkip, shared: shared)
        try producer.run(firstBatch: firstBatch, batches: batches)
      } catch {
        shared.fail(asPetarError(error))
      }
    }
    thread.name = "examples"
    thread.start()
  }

  deinit { shared.close() }

  /// The examples of the next batch: fewer than asked for where questions were skipped or an epoch ends.
  /// - Throws: what made an exam fail, if such are refused.
  package func next() throws -> [TrainingExample] { try shared.take() }

  /// What is between the two threads.
  private final class Shared: @unchecked Sendable {
    private let condition = NSCondition()
    private var batches: [[TrainingExample]] = []
    private var failure: PetarError?
    private var closed = false

    /// Waits until what is there has nearly been taken: a group is made while the one before is trained on.
    /// - Returns: whether anybody wants more.
    func add(_ more: [[TrainingExample]]) -> Bool {
      condition.lock()
      defer { condition.unlock() }
      while !closed, batches.count > more.count { condition.wait() }
      batches += more
      condition.broadcast()
      return !closed
    }

    func fail(_ error: PetarError) {
      condition.lock()
      defer { condition.unlock() }
      failure = error
      condition.broadcast()
    }

    func close() {
      condition.lock()
      defer { condition.unlock() }
      closed = true
      condition.broadcast()
    }

    func take() throws -> [TrainingExample] {
      condition.lock()
      defer { condition.unlock() }
      while batches.isEmpty {
        if let failure { throw failure }
        condition.wait()
      }
      condition.broadcast()
      return batches.removeFirst()
    }
  }

  private struct Producer: Sendable {
    let maker: ExampleMaker
    let order: QuestionOrder
    let jitters: Bool
    let batch: Int
    let memory: Int
    let broken: BrokenExams
    let pool: ThreadPool
    let alone: ThreadPool
    let onSkip: @Sendable (Dataset.Question, PetarError) -> Void
    let shared: Shared

    func run(firstBatch: Int, batches: Int) throws {
      let perEpoch = (order.count + batch - 1) / batch
      var kept = KeptExamples(limit: memory)
      var epoch = firstBatch / max(perEpoch, 1)
      var skipped = firstBatch % max(perEpoch, 1)
      var left = batches - firstBatch
      while left > 0 {
        // A batch may reach over two groups, but not over two epochs.
        var carried: [QuestionOrder.Place] = []
        let groups = order.groups(epoch: epoch)
        for (index, group) in groups.enumerated() {
          var places = carried + group
          let whole = index + 1 == groups.count ? places.count : places.count / batch * batch
          carried = Array(places[whole...])
          places = Array(places[..<whole])
          let dropped = min(skipped, (places.count + batch - 1) / batch)
          skipped -= dropped
          places.removeFirst(min(dropped * batch, places.count))
          guard !places.isEmpty else { continue }
          let examples = try make(Array(places.prefix(left * batch)), &kept)
          let cut = stride(from: 0, to: examples.count, by: batch).map { first in
            examples[first..<min(first + batch, examples.count)].compactMap { $0 }
          }
          left -= cut.count
          guard shared.add(cut), left > 0 else { return }
        }
        epoch += 1
      }
    }

    /// One for each place; nil where it is skipped.
    private func make(_ places: [QuestionOrder.Place], _ kept: inout KeptExamples) throws -> [TrainingExample?] {
      let questions = maker.dataset.questions
      var made = places.map { kept[$0] }
      let missing = Dictionary(grouping: places.indices.filter { made[$0] == nil }) {
        questions[places[$0].question].exam
      }
      let exams = missing.keys.sorted()
      let results = Mutex([Result<[(Int, TrainingExample?)], any Error>?](repeating: nil, count: exams.count))
      pool.run(exams.count) { index in
        let result = Result { try examples(of: exams[index], missing[exams[index]] ?? [], places) }
        results.withLock { $0[index] = result }
      }
      for result in results.withLock({ $0 }) {
        for (index, example) in try result?.get() ?? [] {
          made[index] = example
          if let example { kept.keep(example, places[index]) }
        }
      }
      return made
    }

    private func examples(
      of exam: String, _ indices: [Int], _ places: [QuestionOrder.Place]
    ) throws -> [(Int, TrainingExample?)] {
      var volumes = Result { try maker.volumes(of: exam) }
      return try indices.map { index in
        let question = maker.dataset.questions[places[index].question]
        do {
          var present = try volumes.get()
          defer { volumes = .success(present) }
          let jitter = jitters ? order.jitter(places[index]) : .none
          return (index, try maker.example(question, &present, jitter: jitter, pool: alone))
        } catch {
          let error = asPetarError(error)
          guard broken == .skip else {
            throw PetarError(
              error.status,
              "exam \(exam), \(question.map) \(question.label): \(error.message); \"broken_exams\": "
                + "\"skip\" leaves such questions out")
          }
          onSkip(question, error)
          return (index, nil)
        }
      }
    }
  }
}

/// Examples kept in memory until it is full: those that came first stay.
private struct KeptExamples {
  private var examples: [QuestionOrder.Place: TrainingExample] = [:]
  private var room: Int

  init(limit: Int) { room = limit }

  subscript(place: QuestionOrder.Place) -> TrainingExample? { examples[place] }

  mutating func keep(_ example: TrainingExample, _ place: QuestionOrder.Place) {
    let bytes = [example.global, example.focal].reduce(0) { $0 + ($1.pet.count + $1.mask.count + $1.ct.count) * 4 }
    guard bytes <= room, examples.updateValue(example, forKey: place) == nil else { return }
    room -= bytes
  }
}
