import CPetar
import Petar
import PetarConsole
import PetarConversion

/// `petar-convert synth --shape NAME --weights TYPE -o FILE`
enum SynthCommand {
  static func run(_ words: some Sequence<String>) throws {
    let arguments = try Arguments(words, valued: ["--shape", "-o", "--weights", "--seed", "--threads"], plain: [])
    try arguments.onlyOptions()
    let shape = try arguments.choice("--shape", SynthesisShape.all.map { ($0.name, $0) })
    let weights = try arguments.weights()
    let output = try arguments.required("-o")
    let seed: UInt64 = try arguments.wholeNumber("--seed", unlessGiven: 0)
    let threads = try arguments.threads()

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
    Console.out("THE WEIGHTS ARE RANDOM: nothing this model says means anything.\n")
    Console.out(
      "\(output): \(file.parameterCount) parameters, \(weights), \(file.byteCount) bytes\nhash \(file.hash)\n")
  }
}
