import CPetar
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

func help(_ words: ArraySlice<String>) -> String {
  switch words.first {
  case "phantom": PhantomCommand.usage
  case "run": RunCommand.usage
  case "evaluate": EvaluateCommand.usage
  case "bench": BenchCommand.usage
  default: usage
  }
}

Tool("petar-train", help: help, exitCode: exitCode).run { words in
  let rest = words.dropFirst()
  switch words.first ?? "" {
  case "phantom": try PhantomCommand.run(rest)
  case "run": try RunCommand.run(rest)
  case "evaluate": try EvaluateCommand.run(rest)
  case "bench": try BenchCommand.run(rest)
  case let command: throw UsageError(message: "there is no command \(command)")
  }
}
