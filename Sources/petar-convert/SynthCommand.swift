import CPetar
import Petar
import PetarConsole
import PetarConversion

/// `petar-convert synth --shape NAME --weights TYPE -o FILE`
enum SynthCommand {
  static func run(_ words: some Sequence<String>) throws {
    let arguments = try Arguments(words, valued: ["--shape", "-o", "--weights", "--seed", "--threads"], plain: [])
    if let word = arguments.positionals.first {
      throw UsageError(message: "\(word): synth takes options only")
    }
    let shapeName = try arguments.required("--shape")
    guard let shape = SynthesisShape.all.first(where: { $0.name == shapeName }) else {
      throw UsageError(
        message: "--shape \(shapeName): it is one of " + SynthesisShape.all.map(\.name).joined(separator: ", "))
    }
    let weightsName = try arguments.required("--weights")
    guard let weights = Encoding.allCases.first(where: { "\($0)" == weightsName }) else {
      throw UsageError(
        message: "--weights \(weightsName): it is one of "
          + Encoding.allCases.map { "\($0)" }.joined(separator: ", "))
    }
    let output = try arguments.required("-o")
    let seedText = arguments.value("--seed") ?? "0"
    guard let seed = UInt64(seedText) else {
      throw UsageError(message: "--seed \(seedText): a whole number of 0 or more is expected")
    }
    let threadsText = arguments.value("--threads") ?? "2"
    guard let threads = Int(threadsText), (1...64).contains(threads) else {
      throw UsageError(message: "--threads \(threadsText): a whole number in 1...64 is expected")
    }

    Interrupt.watch()
    let bar = ProgressBar("making up weights")
    defer { bar.close() }
    try synthesize(
      shape, output: output, weights: weights, seed: seed, threads: threads,
      progress: { done, total in
        try Interrupt.check()
        bar.show(done, total)
      })
    bar.close()
    let file = try PetarFile.open(path: output, verify: false)
    print("THE WEIGHTS ARE RANDOM: nothing this model says means anything.")
    print("\(output): \(file.parameterCount) parameters, \(weightsName), \(file.byteCount) bytes\nhash \(file.hash)")
  }
}
