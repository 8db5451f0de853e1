import CPetar
import Glibc

let words = Array(CommandLine.arguments.dropFirst())
if words.isEmpty {
  Console.error(Arguments.help + "\n")
  exit(2)
}
if words.contains("--help") || words.contains("-h") {
  Console.out(Arguments.help + "\n")
  exit(0)
}
if words.contains("--version") {
  Console.out("petar-describe \(String(cString: petar_version()))\n")
  exit(0)
}

do {
  let arguments = try Arguments(words)
  let describer = try Describer(arguments)
  if arguments.eachLabel { try describer.describeEachLabel() } else { try describer.describe() }
} catch let error as UsageError {
  Console.error("petar-describe: \(error.message); see petar-describe --help\n")
  exit(2)
} catch let failure as Failure {
  Console.error("petar-describe: \(failure.message)\n")
  exit(failure.exitStatus)
} catch {
  Console.error("petar-describe: \(error)\n")
  exit(1)
}
