import CPetar
import Glibc
import Petar
import Testing

@Suite("Thread pool") struct ThreadPoolTests {
  @Test("Every part runs once, in a lane of its own", arguments: [1, 2, 3, 7])
  func everyPartOnce(_ threads: Int) throws {
    let pool = try ThreadPool(threads: threads)
    var noise = Noise(1)
    for _ in 0..<2000 {
      let count = Int(noise.bits() % 40)
      let calls = Counters(count)
      let lanes = Counters(threads)
      pool.run(count) { index, lane in
        calls.add(index)
        #expect(lanes.add(lane) == 1)
        lanes.subtract(lane)
      }
      #expect(calls.values == [Int](repeating: 1, count: count))
    }
  }

  @Test("Workers that fell asleep wake up")
  func sleep() throws {
    let pool = try ThreadPool(threads: 3)
    for _ in 0..<20 {
      usleep(2000)
      let calls = Counters(3)
      pool.run(3) { index in
        usleep(1000)
        calls.add(index)
      }
      #expect(calls.values == [1, 1, 1])
    }
  }

  @Test("Runs within a run and from several threads at once come to their end")
  func nestedAndConcurrent() async throws {
    let pool = try ThreadPool(threads: 3)
    let calls = Counters(1)
    await withTaskGroup(of: Void.self) { group in
      for _ in 0..<4 {
        group.addTask {
          for _ in 0..<200 { pool.run(5) { _ in pool.run(7) { _ in calls.add(0) } } }
        }
      }
    }
    #expect(calls.values == [4 * 200 * 35])
  }

  @Test("Pools come and go without leaving threads behind")
  func threadsEnd() throws {
    let before = threadCount()
    for _ in 0..<100 {
      let pool = try ThreadPool(threads: 4)
      pool.run(8) { _ in }
    }
    // Other tests run beside this one and start threads too, but end sooner or later with as many as at first; 300 would
    // be left over here.
    for _ in 0..<1000 where threadCount() >= before + 100 { usleep(10_000) }
    #expect(threadCount() < before + 100)
  }

  @Test("Workers block every signal that can be blocked")
  func signals() throws {
    let pool = try ThreadPool(threads: 2)
    let caller = pthread_self()
    let (open, seen) = (Counters(1), Counters(1))
    // Both lanes wait for each other, so that one of them is surely the worker's.
    pool.run(2) { _ in
      open.add(0)
      while open.value(0) < 2 { sched_yield() }
      guard pthread_equal(pthread_self(), caller) == 0 else { return }
      var blocked = sigset_t()
      pthread_sigmask(SIG_BLOCK, nil, &blocked)
      for signal in [SIGINT, SIGTERM, SIGHUP, SIGCHLD, SIGUSR1, SIGPROF, SIGALRM] {
        #expect(sigismember(&blocked, signal) == 1)
      }
      seen.add(0)
    }
    #expect(seen.values == [1])
  }

  @Test("The host's runner is used instead of threads, and changes no bit")
  func hostRunner() throws {
    let tasks = Counters(2)
    let pool = ThreadPool(
      threads: 3,
      parallel: { userData, task, run, count in
        guard let userData, let run else { return }
        let tasks = Unmanaged<Counters>.fromOpaque(userData).takeUnretainedValue()
        tasks.add(0)
        // Backwards, because a host may.
        for index in (0..<count).reversed() {
          tasks.add(1)
          run(task, index)
        }
      }, userData: Unmanaged.passUnretained(tasks).toOpaque())
    let calls = Counters(10)
    pool.run(10) { index in calls.add(index) }
    #expect(calls.values == [Int](repeating: 1, count: 10))
    #expect(tasks.values == [1, 3])

    let x = Numbers.ordinary.make(20 * 300, seed: 2)
    let w = try matrix(Numbers.ordinary.make(400 * 300, seed: 3), .q8, rows: 400, columns: 300)
    let result = try Compute(InstructionSet(), pool: pool).linear(x, rows: 20, w)
    #expect(try bits(result) == bits(compute(nil).linear(x, rows: 20, w)))
    withExtendedLifetime(tasks) {}
  }

  /// A host that runs too little or asks for lanes that there are not: what is left is done by the caller.
  @Test("Every part runs, whatever the host's runner does")
  func brokenRunners() {
    let idle: petar_parallel_fn = { _, _, _, _ in }
    let wrong: petar_parallel_fn = { _, task, run, count in
      for index in [count, count + 1, 1 << 40, Int.max, -1, 0] { run?(task, index) }
    }
    for parallel in [idle, wrong] {
      let pool = ThreadPool(threads: 3, parallel: parallel, userData: nil)
      let calls = Counters(10)
      pool.run(10) { index, lane in
        #expect((0..<3).contains(lane))
        calls.add(index)
      }
      #expect(calls.values == [Int](repeating: 1, count: 10))
    }
  }

  @Test("There is a processor to run on")
  func processors() { #expect(ThreadPool.processors >= 1) }

  private func threadCount() -> Int {
    guard let directory = opendir("/proc/self/task") else { return 0 }
    defer { closedir(directory) }
    var count = 0
    while readdir(directory) != nil { count += 1 }
    return count
  }
}

@Suite("Instruction sets") struct InstructionSetTests {
  @Test("The scalar kernels are always there, and last")
  func available() throws {
    #expect(instructionSets.last == "scalar")
    for name in instructionSets { #expect(try InstructionSet(named: name).name == name) }
  }

  @Test("An unknown name is refused, with the names there are", arguments: ["sse9", "", "AVX2", "scalar "])
  func unknown(_ name: String) throws {
    do {
      _ = try InstructionSet(named: name)
      Issue.record("\(name) was accepted")
    } catch let error as PetarError {
      #expect(error.status == PETAR_ERROR_UNSUPPORTED)
      #expect(instructionSets.allSatisfy { error.message.contains($0) })
    }
  }
}

/// Numbers that several threads count up. A pthread mutex, because the thread sanitizer knows it.
private final class Counters: @unchecked Sendable {
  private let mutex = UnsafeMutablePointer<pthread_mutex_t>.allocate(capacity: 1)
  private var counts: [Int]

  init(_ count: Int) {
    counts = [Int](repeating: 0, count: count)
    pthread_mutex_init(mutex, nil)
  }

  deinit {
    pthread_mutex_destroy(mutex)
    mutex.deallocate()
  }

  private func locked<Result>(_ body: () -> Result) -> Result {
    pthread_mutex_lock(mutex)
    defer { pthread_mutex_unlock(mutex) }
    return body()
  }

  @discardableResult func add(_ index: Int) -> Int {
    locked {
      counts[index] += 1
      return counts[index]
    }
  }

  func value(_ index: Int) -> Int { locked { counts[index] } }
  func subtract(_ index: Int) { locked { counts[index] -= 1 } }
  var values: [Int] { locked { counts } }
}
