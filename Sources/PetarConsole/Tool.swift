import CPetar
import Glibc
import Petar

/// A program of the command line: what all of them do alike.
package struct Tool {
  private let name: String
  private let version: String
  private let help: (_ words: ArraySlice<String>) -> String
  private let exitCode: (PetarError) -> Int32

  /// - Parameters:
  ///   - help: what `--help` says, given the words of the command line. It ends with a line break.
  ///   - exitCode: of what the work throws.
  package init(
    _ name: String, version: String = "\(Library.version)", help: @escaping (_ words: ArraySlice<String>) -> String,
    exitCode: @escaping (PetarError) -> Int32
  ) {
    self.name = name
    self.version = version
    self.help = help
    self.exitCode = exitCode
  }

  /// Runs `work` with the words of the command line, or answers `--help` and `--version`, and ends the program: with 0,
  /// with 2 for a command line that cannot be understood, or with the exit code of what failed, be it standard output.
  package func run(_ work: (_ words: ArraySlice<String>) throws -> Void) -> Never {
    let words = CommandLine.arguments.dropFirst()
    let status = perform(words, work)
    exit(Console.outIsIncomplete ? exitCode(PetarError(PETAR_ERROR_IO, "standard output cannot be written")) : status)
  }

  private func perform(_ words: ArraySlice<String>, _ work: (ArraySlice<String>) throws -> Void) -> Int32 {
    if words.isEmpty {
      Console.error(help(words))
      return 2
    }
    if words.contains("--help") || words.contains("-h") {
      Console.out(help(words))
      return 0
    }
    if words.contains("--version") {
      Console.out("\(name) \(version)\n")
      return 0
    }
    do {
      try work(words)
      return 0
    } catch let error as UsageError {
      Console.error("\(name): \(error.message); see \(name) --help\n")
      return 2
    } catch {
      let error = asPetarError(error)
      Console.error("\(name): \(error.message)\n")
      return exitCode(error)
    }
  }
}
