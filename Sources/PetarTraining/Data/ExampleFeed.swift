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
  ///   - jitterSeed: decides how the views of each mask are jittered; nil for no jitter.
  ///   - firstBatch: batches before it are left out.
  ///   - kept: views for the next time their version comes round. They are of this model, seed and omitted inputs.
  ///   - threads: exams read at a time.
  ///   - onSkip: told, on the background thread, which question is skipped and why.
  ///   - onWarning: told, on threads in the background, what was not as it should be when a question's mask was prepared.
  package init(
    _ maker: ExampleMaker, _ order: QuestionOrder, jitterSeed: UInt64?, batch: Int, firstBatch: Int, batches: Int,
    kept: KeptViews, threads: Int, broken: BrokenExams,
    onSkip: @escaping @Sendable (Dataset.Question, PetarError) -> Void,
    onWarning: @escaping @Sendable (Dataset.Question, String) -> Void
  ) {
    let shared = shared
    let thread = Thread {
      // Training waits for its slowest thread many times a millisecond. This one and those it starts take what training
      // leaves of the processors, and all of them when it waits for examples.
      setpriority(__priority_which_t(PRIO_PROCESS.rawValue), 0, 19)
      do {
        let producer = Producer(
          maker: maker, order: order, jitterSeed: jitterSeed, batch: batch, kept: kept, broken: broken,
          pool: try ThreadPool(threads: threads), alone: try ThreadPool(threads: 1), onSkip: onSkip,
          onWarning: onWarning, shared: shared)
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

    /// Waits until what is there has been taken: a group is made while the one before is trained on, so that there are
    /// two of them in memory at most.
    /// - Returns: whether anybody wants more.
    func add(_ more: [[TrainingExample]]) -> Bool {
      condition.lock()
      defer { condition.unlock() }
      while !closed, !batches.isEmpty { condition.wait() }
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
    let jitterSeed: UInt64?
    let batch: Int
    let kept: KeptViews
    let broken: BrokenExams
    let pool: ThreadPool
    let alone: ThreadPool
    let onSkip: @Sendable (Dataset.Question, PetarError) -> Void
    let onWarning: @Sendable (Dataset.Question, String) -> Void
    let shared: Shared

    func run(firstBatch: Int, batches: Int) throws {
      let perEpoch = (order.count + batch - 1) / batch
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
          let examples = try make(Array(places.prefix(left * batch)))
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
    private func make(_ places: [QuestionOrder.Place]) throws -> [TrainingExample?] {
      let questions = maker.dataset.questions
      let missing = Dictionary(grouping: Set(places.map(\.sight)).filter { kept[$0] == nil }) {
        questions[$0.mask].exam
      }
      let exams = missing.keys.sorted()
      let results = Mutex([[QuestionOrder.Sight: Result<Views, PetarError>]](repeating: [:], count: exams.count))
      pool.run(exams.count) { index in
        let views = views(of: exams[index], missing[exams[index]] ?? [])
        results.withLock { $0[index] = views }
      }
      let made = results.withLock { $0 }.reduce(into: [:]) { $0.merge($1) { first, _ in first } }
      return try places.map { place in
        let question = questions[place.question]
        do {
          guard let views = try kept[place.sight] ?? made[place.sight]?.get() else {
            throw PetarError(PETAR_ERROR_INTERNAL, "the views of a question were lost")
          }
          kept.keep(views, place.sight)
          return maker.example(question, views)
        } catch {
          let error = asPetarError(error)
          guard broken == .skip else {
            throw PetarError(
              error.status,
              "exam \(question.exam), \(question.map) \(question.label): \(error.message); \"broken_exams\": "
                + "\"skip\" leaves such questions out")
          }
          onSkip(question, error)
          return nil
        }
      }
    }

    /// What is seen of the masks of one exam, whose files are read once.
    private func views(
      of exam: String, _ sights: [QuestionOrder.Sight]
    ) -> [QuestionOrder.Sight: Result<Views, PetarError>] {
      do {
        var volumes = try maker.volumes(of: exam)
        return sights.reduce(into: [:]) { made, sight in
          let jitter = jitterSeed.map { sight.jitter(seed: $0) } ?? .none
          let question = maker.dataset.questions[sight.mask]
          made[sight] = Result {
            let views = try maker.views(question, &volumes, jitter: jitter, pool: alone)
            for warning in views.warnings { onWarning(question, warning) }
            return views
          }.mapError(asPetarError)
        }
      } catch {
        let error = asPetarError(error)
        return Dictionary(uniqueKeysWithValues: sights.map { ($0, .failure(error)) })
      }
    }
  }
}
