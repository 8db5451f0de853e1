import Petar
import PetarConsole

Tool("petar-bench", help: { _ in Options.help }, exitCode: { _ in 1 }).run { words in
  let options = try Options(words)
  let report = try Benchmark.run(options) { Console.error("petar-bench: \($0)\n") }
  Console.out((options.json ? report.json.text : report.text) + "\n")
}
