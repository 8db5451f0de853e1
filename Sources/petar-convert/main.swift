import CPetar
import Glibc
import Petar
import PetarConsole
import PetarConversion

/// The exit code `--help` promises for a failure.
func exitCode(_ error: PetarError, converting: Bool) -> Int32 {
  switch error.status {
  case PETAR_ERROR_IO: 4
  case PETAR_CANCELLED: 130
  case PETAR_ERROR_BAD_FILE, PETAR_ERROR_CHECKSUM, PETAR_ERROR_FILE_VERSION, PETAR_ERROR_UNSUPPORTED,
    PETAR_ERROR_BAD_TEXT:
    converting ? 3 : 5
  default: 1
  }
}

let words = CommandLine.arguments.dropFirst()
let command = words.first ?? ""
do {
  switch command {
  case _ where words.isEmpty:
    printError(usage)
    exit(2)
  case _ where words.contains("--help") || words.contains("-h"): print(usage, terminator: "")
  case "--version": print("petar-convert \(Library.version), .petar format \(PetarFileHeader.version)")
  case "inspect": try InspectCommand.run(words.dropFirst())
  case "verify": try VerifyCommand.run(words.dropFirst())
  case "synth": try SynthCommand.run(words.dropFirst())
  default: try ConvertCommand.run(words)
  }
} catch let error as UsageError {
  printError("petar-convert: \(error.message)\nTry petar-convert --help\n")
  exit(2)
} catch let error as PetarError {
  printError("petar-convert: \(error.message)\n")
  exit(exitCode(error, converting: !["inspect", "verify"].contains(command)))
}
guard fflush(nil) == 0 else {
  printError("petar-convert: standard output cannot be written: \(String(cString: strerror(errno)))\n")
  exit(4)
}
