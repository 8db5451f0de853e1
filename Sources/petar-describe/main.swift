import CPetar
import Glibc

/// Ends the program; with 40 if what it had to say did not reach standard output.
func end(_ status: Int32) -> Never { exit(Console.outIsIncomplete ? 40 : status) }

let words = Array(CommandLine.arguments.dropFirst())
if words.isEmpty {
  Console.error(Arguments.help + "\n")
  exit(2)
}
if words.contains("--help") || words.contains("-h") {
  Console.out(Arguments.help + "\n")
  end(0)
}
if words.contains("--version") {
  Console.out("petar-describe \(String(cString: petar_version()))\n")
  end(0)
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
  end(failure.exitStatus)
} catch {
  Console.error("petar-describe: \(error)\n")
  exit(1)
}
end(0)
