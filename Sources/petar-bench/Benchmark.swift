import Petar

/// The whole run: the machine, then the model.
enum Benchmark {
  /// - Parameter progress: told what is done now.
  static func run(_ options: Options, progress: (String) -> Void) throws -> Report {
    let pool = try ThreadPool(threads: options.threads)
    progress("load")
    var load = Stage("load")
    var (model, session) = try ready(options, pool, &load)
    for _ in 1..<max(options.repeats, 1) { (model, session) = try ready(options, pool, &load) }
    // What is wrong with the file is said before the long work.
    let drafts = try options.findings.map { try DraftRun(session, findings: $0) }

    progress("machine")
    let machine = try Machine(instructionSet: model.instructionSet.name, pool: pool)
    let scaling = try measure(machine, threads: options.threads, repeats: options.repeats)

    let weights = model.file.weightsType
    let peak = weights == "f32" || weights == "f16" ? Machine.Limit.f32 : .int8
    let run = try LesionRun(session, machine, pool, peak: peak)
    for index in 1...options.repeats {
      progress("lesion \(index) of \(options.repeats)")
      try run.run()
    }
    // Before texts side by side take more.
    let peakResidentBytes = max(System.peakResidentBytes - Machine.bufferBytes, 0)
    try drafts?.run(progress: progress)
    let steps = try StepRun(model, machine, pool, positions: run.positions)
    for index in 1...options.repeats {
      progress("steps, \(index) of \(options.repeats)")
      try steps.run()
    }
    return Report(
      model: model, threads: options.threads, repeats: options.repeats, machine: scaling, peak: peak, run: run,
      steps: steps, drafts: drafts, load: load, peakResidentBytes: peakResidentBytes)
  }

  /// From opening the file to a session that can describe.
  private static func ready(_ options: Options, _ pool: ThreadPool, _ load: inout Stage) throws -> (Model, Session) {
    let clock = Stopwatch()
    let model = try Model(path: options.model, isa: options.isa)
    let session = try Session(model: model, pool: pool)
    load.append(clock.seconds)
    return (model, session)
  }

  /// Each limit at 1...`threads` threads.
  private static func measure(_ machine: Machine, threads: Int, repeats: Int) throws -> [Report.Scaling] {
    try Machine.Limit.allCases.compactMap { limit in
      let rates = try (1...threads).map { count in
        let pool = try ThreadPool(threads: count)
        return Samples((0..<repeats).compactMap { _ in machine.measure(limit, on: pool) })
      }
      return rates.allSatisfy { $0.values.isEmpty } ? nil : Report.Scaling(limit: limit, rates: rates)
    }
  }
}
