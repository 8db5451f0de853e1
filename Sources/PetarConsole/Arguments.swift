import Petar

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

  // ---- Words ------------------------------------------------------------------------------------------------------

  /// The one positional argument.
  package func single(_ what: String) throws -> String {
    guard let first = positionals.first else { throw UsageError(message: "\(what) is missing") }
    guard positionals.count == 1 else {
      throw UsageError(message: "one \(what) is expected, \(positionals[1]) is one more word than that")
    }
    return first
  }

  /// Refuses positional arguments.
  package func onlyOptions() throws {
    if let word = positionals.first { throw UsageError(message: "\(word): only options are expected here") }
  }

  // ---- Options ----------------------------------------------------------------------------------------------------

  package func has(_ name: String) -> Bool { flags.contains(name) }
  package func value(_ name: String) -> String? { values[name] }

  /// A path: an empty one is a variable that a script left unset.
  package func required(_ name: String) throws -> String {
    let value = try given(name)
    guard !value.isEmpty else { throw UsageError(message: "\(name) is missing") }
    return value
  }

  private func given(_ name: String) throws -> String {
    guard let value = values[name] else { throw UsageError(message: "\(name) is missing") }
    return value
  }

  /// - Parameter standard: where the option is not given; nil if it has to be.
  package func wholeNumber<Number: FixedWidthInteger>(
    _ name: String, in range: ClosedRange<Number> = Number.min...Number.max, unlessGiven standard: Number? = nil
  ) throws -> Number {
    if value(name) == nil, let standard { return standard }
    let text = try given(name)
    guard let number = Number(text), range.contains(number) else {
      throw UsageError(
        message: "\(name) \(text): a whole number in \(range.lowerBound)...\(range.upperBound) is expected")
    }
    return number
  }

  package func number<Number: LosslessStringConvertible>(_ name: String, unlessGiven standard: Number) throws -> Number
  where Number: BinaryFloatingPoint {
    guard let text = value(name) else { return standard }
    guard let number = Number(text) else { throw UsageError(message: "\(name) \(text): a number is expected") }
    return number
  }

  /// - Parameter standard: where the option is not given; nil if it has to be.
  package func choice<Choice>(
    _ name: String, _ choices: [(name: String, value: Choice)], unlessGiven standard: Choice? = nil
  ) throws -> Choice {
    if value(name) == nil, let standard { return standard }
    return try pick(try given(name), name, choices)
  }

  /// nil where the option is not given.
  package func choice<Choice: RawRepresentable & CaseIterable>(_ name: String) throws -> Choice?
  where Choice.RawValue == String {
    try value(name).map { try pick($0, name, Choice.allCases.map { ($0.rawValue, $0) }) }
  }

  /// What is given with commas between; nothing where the option is not given.
  package func choices<Choice: RawRepresentable & CaseIterable & Hashable>(_ name: String) throws -> Set<Choice>
  where Choice.RawValue == String {
    let all = Choice.allCases.map { (name: $0.rawValue, value: $0) }
    return Set(try (value(name) ?? "").split(separator: ",").map { try pick(String($0), name, all) })
  }

  private func pick<Choice>(
    _ text: String, _ name: String, _ choices: [(name: String, value: Choice)]
  ) throws -> Choice {
    guard let choice = choices.first(where: { $0.name == text }) else {
      throw UsageError(message: "\(name) \(text): it is one of \(choices.map(\.name).joined(separator: ", "))")
    }
    return choice.value
  }

  /// The value of `--threads`.
  package func threads(unlessGiven standard: Int = ThreadPool.processors) throws -> Int {
    try wholeNumber("--threads", in: 1...1024, unlessGiven: standard)
  }
}
