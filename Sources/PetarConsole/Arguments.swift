/// A command line that cannot be understood: the sentence for the user.
package struct UsageError: Error {
  package let message: String

  package init(message: String) { self.message = message }
}

/// Takes a command line apart: options with a value, options without, and the rest.
package struct Arguments {
  private var values: [String: String] = [:]
  private var flags: Set<String> = []
  package private(set) var positionals: [String] = []

  /// - Parameters:
  ///   - valued: options that take a value, as `--name VALUE` or `--name=VALUE`.
  ///   - plain: options that do not.
  package init(_ words: some Sequence<String>, valued: Set<String>, plain: Set<String>) throws {
    var words = Array(words)[...]
    var optionsEnded = false
    while let word = words.popFirst() {
      guard word.hasPrefix("-"), word != "-", !optionsEnded else {
        positionals.append(word)
        continue
      }
      if word == "--" {
        optionsEnded = true
        continue
      }
      let parts = word.split(separator: "=", maxSplits: 1, omittingEmptySubsequences: false).map(String.init)
      let name = parts[0]
      if plain.contains(name), parts.count == 1 {
        flags.insert(name)
      } else if valued.contains(name) {
        guard let value = parts.count == 2 ? parts[1] : words.popFirst() else {
          throw UsageError(message: "\(name) needs a value")
        }
        guard values.updateValue(value, forKey: name) == nil else {
          throw UsageError(message: "\(name) is given twice")
        }
      } else {
        throw UsageError(message: "there is no option \(word) here")
      }
    }
  }

  package func has(_ name: String) -> Bool { flags.contains(name) }
  package func value(_ name: String) -> String? { values[name] }

  package func required(_ name: String) throws -> String {
    guard let value = values[name] else { throw UsageError(message: "\(name) is missing") }
    return value
  }

  /// The one positional argument.
  package func single(_ what: String) throws -> String {
    guard let first = positionals.first else { throw UsageError(message: "\(what) is missing") }
    guard positionals.count == 1 else {
      throw UsageError(message: "one \(what) is expected, \(positionals[1]) is one more word than that")
    }
    return first
  }
}
