import CPetar
import Glibc
import Petar
import PetarConsole

/// The exit code `--help` promises for a failure.
func exitCode(_ error: PetarError) -> Int32 {
  switch error.status {
  case PETAR_ERROR_INVALID_ARGUMENT: 2
  case PETAR_ERROR_IO: 4
  case PETAR_CANCELLED: 130
  default: 1
  }
}

let words = CommandLine.arguments.dropFirst()
let command = words.first ?? ""
let wantsHelp = words.contains("--help") || words.contains("-h")
do {
  switch command {
  case "":
    printError(usage)
    exit(2)
  case "phantom" where wantsHelp: print(PhantomCommand.usage, terminator: "")
  case "phantom": try PhantomCommand.run(words.dropFirst())
  case "run" where wantsHelp: print(RunCommand.usage, terminator: "")
  case "run": try RunCommand.run(words.dropFirst())
  case "evaluate" where wantsHelp: print(EvaluateCommand.usage, terminator: "")
  case "evaluate": try EvaluateCommand.run(words.dropFirst())
  case "bench" where wantsHelp: print(BenchCommand.usage, terminator: "")
  case "bench": try BenchCommand.run(words.dropFirst())
  case "--version": print("petar-train \(Library.version)")
  case _ where wantsHelp: print(usage, terminator: "")
  default: throw UsageError(message: "there is no command \(command)")
  }
} catch let error as UsageError {
  printError("petar-train: \(error.message)\nTry petar-train --help\n")
  exit(2)
} catch let error as PetarError {
  printError("petar-train: \(error.message)\n")
  exit(exitCode(error))
}
