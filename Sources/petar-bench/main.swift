import Glibc
import Petar

func printError(_ text: String) {
  let line = "petar-bench: \(text)\n"
  _ = line.withCString { write(STDERR_FILENO, $0, strlen($0)) }
}

let words = CommandLine.arguments.dropFirst()
do {
  if words.contains("--help") || words.contains("-h") {
    print(Options.help, terminator: "")
  } else if words.contains("--version") {
    print("petar-bench \(Library.version)")
  } else {
    let options = try Options(words)
    let report = try Benchmark.run(options) { printError($0) }
    print(options.json ? report.json.text : report.text)
  }
} catch let error as UsageError {
  printError("\(error.message); see petar-bench --help")
  exit(2)
} catch let error as PetarError {
  printError(error.message)
  exit(1)
}
guard fflush(nil) == 0 else {
  printError("standard output cannot be written: \(String(cString: strerror(errno)))")
  exit(1)
}
