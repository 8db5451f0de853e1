import CPetar
import Petar
import PetarConsole

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

let command = CommandLine.arguments.dropFirst().first ?? ""
let tool = Tool(
  "petar-convert", version: "\(Library.version), .petar format \(PetarFileHeader.version)", help: { _ in usage },
  exitCode: { exitCode($0, converting: !["inspect", "verify"].contains(command)) })
tool.run { words in
  switch command {
  case "inspect": try InspectCommand.run(words.dropFirst())
  case "verify": try VerifyCommand.run(words.dropFirst())
  case "synth": try SynthCommand.run(words.dropFirst())
  default: try ConvertCommand.run(words)
  }
}
