import CKernels
import CPetar
import Glibc
import Synchronization

/// Runs the parts of a computation side by side, on threads of its own or through the host's parallel runner.
///
/// Which thread runs which part never changes a result: parts write to places of their own, and no sum is split
/// between parts. Every part runs in the default floating point environment.
package final class ThreadPool: Sendable {
  /// How many parts run at a time, the calling thread's included.
  package let threads: Int
  private let crew: WorkerCrew?
  private let host: HostRunner?
  /// Set while a run is on: one that comes meanwhile, from a part or from another thread, goes on by itself.
  private let busy = Atomic(false)
  private let job = Job()

  /// Starts `threads - 1` threads; they block all signals and end with the pool.
  /// - Throws: `PETAR_ERROR_OUT_OF_MEMORY` if the system gives no more threads.
  package init(threads: Int) throws {
    self.threads = max(threads, 1)
    self.host = nil
    self.crew = self.threads > 1 ? try WorkerCrew(count: self.threads - 1) : nil
  }

  /// Starts no threads: up to `threads` parts at a time go through `parallel`.
  package init(threads: Int, parallel: petar_parallel_fn, userData: UnsafeMutableRawPointer?) {
    self.threads = max(threads, 1)
    self.host = HostRunner(parallel: parallel, userData: userData)
    self.crew = nil
  }

  /// The processors that this process may use.
  package static var processors: Int { pk_processors() }

  /// Calls `body(0) ... body(count - 1)`, each once, and returns after all of them have.
  package func run(_ count: Int, _ body: (Int) -> Void) {
    run(count) { index, _ in body(index) }
  }

  /// As `run(_:_:)`, and tells each part its lane, in `0..<threads`: parts that run at the same time have different
  /// ones, so a lane can have memory of its own.
  package func run(_ count: Int, _ body: (_ index: Int, _ lane: Int) -> Void) {
    // A part alone needs no other thread, and so no closure that could be handed to one.
    if count == 1 { return withDefaultFloatingPoint { body(0, 0) } }
    withoutActuallyEscaping(body) { body in
      withUnsafePointer(to: body) { body in
        run(count, body) { body, index, lane in
          body.assumingMemoryBound(to: ((Int, Int) -> Void).self).pointee(index, lane)
        }
      }
    }
  }

  /// As `run(_:_:)` without allocating memory, which a closure for several parts does: what they need is behind `context`.
  func run(_ count: Int, _ context: UnsafeRawPointer, _ body: @escaping Job.Body) {
    guard count > 0 else { return }
    let lanes = min(threads, count)
    guard lanes > 1, !busy.exchange(true, ordering: .acquiring) else {
      return withDefaultFloatingPoint { for index in 0..<count { body(context, index, 0) } }
    }
    defer { busy.store(false, ordering: .releasing) }
    job.begin(count: count, lanes: lanes, context, body)
    if let host {
      host.run(job)
    } else {
      crew?.run(job)
    }
  }
}

/// The host's parallel runner; it is given one task for each lane.
private struct HostRunner: @unchecked Sendable {
  let parallel: petar_parallel_fn
  let userData: UnsafeMutableRawPointer?

  func run(_ job: Job) {
    withExtendedLifetime(job) {
      let task = Unmanaged.passUnretained(job).toOpaque()
      parallel(
        userData, task,
        { task, lane in
          guard let task else { return }
          Unmanaged<Job>.fromOpaque(task).takeUnretainedValue().work(lane: lane)
        }, job.lanes)
      // What the runner should have done and has not: nothing as a rule.
      job.work(lane: 0)
    }
  }
}
