import CKernels
import CPetar
import Glibc
import Synchronization

/// Threads that wait for a job, work on it beside the calling thread and wait again.
///
/// A waiting thread spins for some tens of microseconds, because within a model the next job comes at once, and then
/// sleeps. A thread that wakes up late finds the job closed and leaves it alone, so nobody waits for it.
final class WorkerCrew: Sendable {
  private let board: Board
  private let threads: [pthread_t]

  /// - Throws: `PETAR_ERROR_OUT_OF_MEMORY` if the system gives no more threads.
  init(count: Int) throws {
    board = Board()
    var started: [pthread_t] = []
    for index in 0..<count {
      guard let thread = startThread(Worker(board: board, lane: index + 1)) else {
        board.dismiss()
        for thread in started { pthread_join(thread, nil) }
        throw PetarError(
          PETAR_ERROR_OUT_OF_MEMORY,
          "the system gave \(index + 1) of \(count + 1) threads; ask for fewer threads or raise the limit")
      }
      started.append(thread)
    }
    threads = started
  }

  deinit {
    board.dismiss()
    for thread in threads { pthread_join(thread, nil) }
  }

  func run(_ job: Job) {
    board.open(job)
    job.work(lane: 0)
    board.close()
  }
}

/// A run: lanes take the next index until none is left. One object serves the runs of a pool, one after the other.
final class Job: @unchecked Sendable {
  typealias Body = @convention(c) (_ context: UnsafeRawPointer, _ index: Int, _ lane: Int) -> Void

  /// Written only while no lane is at work.
  private(set) var lanes = 0
  private var count = 0
  private var context: UnsafeRawPointer?
  private var body: Body?
  private let next = Atomic(0)

  func begin(count: Int, lanes: Int, _ context: UnsafeRawPointer, _ body: @escaping Body) {
    self.lanes = lanes
    self.count = count
    self.context = context
    self.body = body
    next.store(0, ordering: .relaxed)
  }

  /// A lane that there is not, which only a host's runner can ask for, has no memory and does nothing.
  func work(lane: Int) {
    guard let context, let body, (0..<lanes).contains(lane) else { return }
    withDefaultFloatingPoint {
      while true {
        let index = next.add(1, ordering: .relaxed).oldValue
        guard index < count else { return }
        body(context, index, lane)
      }
    }
  }
}

/// Where the current job hangs. `gate` says all in one word: job number, closed or open, how many workers are on it.
private final class Board: @unchecked Sendable {
  private let gate = Atomic<UInt64>(Gate(number: 0, closed: true, workers: 0).word)
  private let dismissed = Atomic(false)
  private let sleepers = Atomic(0)
  private let callerSleeps = Atomic(false)
  private let workersBell = Bell()
  private let callerBell = Bell()
  /// Written only while the gate is closed and no worker is on the job.
  private nonisolated(unsafe) var job: Job?

  func open(_ job: Job) {
    self.job = job
    let number = Gate(word: gate.load(ordering: .relaxed)).number
    gate.store(Gate(number: number &+ 1, closed: false, workers: 0).word, ordering: .sequentiallyConsistent)
    if sleepers.load(ordering: .sequentiallyConsistent) > 0 { workersBell.ring() }
  }

  /// Returns when no worker is on the job any more.
  func close() {
    gate.bitwiseOr(Gate.closedBit, ordering: .acquiringAndReleasing)
    let free = { Gate(word: self.gate.load(ordering: .sequentiallyConsistent)).workers == 0 }
    if !spin(until: free) {
      callerSleeps.store(true, ordering: .sequentiallyConsistent)
      callerBell.wait(until: free)
      callerSleeps.store(false, ordering: .sequentiallyConsistent)
    }
    job = nil
  }

  func dismiss() {
    dismissed.store(true, ordering: .sequentiallyConsistent)
    workersBell.ring()
  }

  /// A worker's life.
  func serve(lane: Int) {
    var last: UInt64 = 0
    while waitForJob(after: last) {
      var word = gate.load(ordering: .acquiring)
      last = Gate(word: word).number
      while !Gate(word: word).closed, Gate(word: word).number == last {
        let (joined, current) = gate.weakCompareExchange(
          expected: word, desired: word + 1, ordering: .acquiringAndReleasing)
        if joined {
          job?.work(lane: lane)
          leave()
          break
        }
        word = current
      }
    }
  }

  private func leave() {
    let after = gate.subtract(1, ordering: .sequentiallyConsistent).newValue
    if Gate(word: after).workers == 0, callerSleeps.load(ordering: .sequentiallyConsistent) { callerBell.ring() }
  }

  /// Waits for a job past number `last`; false if there will be none.
  private func waitForJob(after last: UInt64) -> Bool {
    let called = {
      self.dismissed.load(ordering: .sequentiallyConsistent)
        || Gate(word: self.gate.load(ordering: .sequentiallyConsistent)).number != last
    }
    if !spin(until: called) {
      sleepers.add(1, ordering: .sequentiallyConsistent)
      workersBell.wait(until: called)
      sleepers.subtract(1, ordering: .sequentiallyConsistent)
    }
    return !dismissed.load(ordering: .sequentiallyConsistent)
  }

  /// Some tens of microseconds.
  private func spin(until condition: () -> Bool) -> Bool {
    for _ in 0..<1000 {
      if condition() { return true }
      pk_pause()
    }
    return false
  }
}

private struct Gate {
  static let closedBit: UInt64 = 1 << 15

  let number: UInt64
  let closed: Bool
  let workers: UInt64

  init(number: UInt64, closed: Bool, workers: UInt64) {
    self.number = number
    self.closed = closed
    self.workers = workers
  }

  init(word: UInt64) {
    self.init(number: word >> 16, closed: word & Self.closedBit != 0, workers: word & (Self.closedBit - 1))
  }

  var word: UInt64 { number << 16 | (closed ? Self.closedBit : 0) | workers }
}

/// A condition variable with its mutex.
private final class Bell: @unchecked Sendable {
  private let mutex = UnsafeMutablePointer<pthread_mutex_t>.allocate(capacity: 1)
  private let condition = UnsafeMutablePointer<pthread_cond_t>.allocate(capacity: 1)

  init() {
    pthread_mutex_init(mutex, nil)
    pthread_cond_init(condition, nil)
  }

  deinit {
    pthread_cond_destroy(condition)
    pthread_mutex_destroy(mutex)
    condition.deallocate()
    mutex.deallocate()
  }

  func ring() {
    pthread_mutex_lock(mutex)
    pthread_cond_broadcast(condition)
    pthread_mutex_unlock(mutex)
  }

  /// Sleeps until `condition` holds; whoever makes it hold must ring after that.
  func wait(until holds: () -> Bool) {
    pthread_mutex_lock(mutex)
    while !holds() { pthread_cond_wait(condition, mutex) }
    pthread_mutex_unlock(mutex)
  }
}

private final class Worker: Sendable {
  let board: Board
  let lane: Int

  init(board: Board, lane: Int) {
    self.board = board
    self.lane = lane
  }
}

/// A thread that blocks all signals, so that the host's handlers never run on it; nil if there is none to be had.
private func startThread(_ worker: Worker) -> pthread_t? {
  var attributes = pthread_attr_t()
  guard pthread_attr_init(&attributes) == 0 else { return nil }
  defer { pthread_attr_destroy(&attributes) }
  pthread_attr_setstacksize(&attributes, 1 << 20)

  var all = sigset_t()
  var before = sigset_t()
  sigfillset(&all)
  pthread_sigmask(SIG_SETMASK, &all, &before)
  defer { pthread_sigmask(SIG_SETMASK, &before, nil) }

  var thread = pthread_t()
  let argument = Unmanaged.passRetained(worker)
  let status = pthread_create(
    &thread, &attributes,
    { argument in
      guard let argument else { return nil }
      let worker = Unmanaged<Worker>.fromOpaque(argument).takeRetainedValue()
      worker.board.serve(lane: worker.lane)
      return nil
    }, argument.toOpaque())
  guard status == 0 else {
    argument.release()
    return nil
  }
  return thread
}
