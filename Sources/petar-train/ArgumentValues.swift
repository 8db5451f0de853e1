import Petar
import PetarConsole
import PetarTraining

/// What the values of options mean.
extension Arguments {
  /// - Parameter standard: where the option is not given; nil if it has to be.
  func wholeNumber(_ name: String, in range: ClosedRange<Int>, unlessGiven standard: Int? = nil) throws -> Int {
    if value(name) == nil, let standard { return standard }
    let text = try required(name)
    guard let number = Int(text), range.contains(number) else {
      throw UsageError(
        message: "\(name) \(text): a whole number in \(range.lowerBound)...\(range.upperBound) is expected")
    }
    return number
  }

  /// The value of `--seed`.
  func seed(unlessGiven standard: UInt64? = nil) throws -> UInt64 {
    if value("--seed") == nil, let standard { return standard }
    let text = try required("--seed")
    guard let seed = UInt64(text) else {
      throw UsageError(message: "--seed \(text): a whole number of 0 or more is expected")
    }
    return seed
  }

  /// nil where the option is not given.
  func choice<Choice: RawRepresentable & CaseIterable>(_ name: String) throws -> Choice?
  where Choice.RawValue == String {
    guard let text = value(name) else { return nil }
    guard let choice = Choice(rawValue: text) else {
      let all = Choice.allCases.map(\.rawValue).joined(separator: ", ")
      throw UsageError(message: "\(name) \(text): it is one of \(all)")
    }
    return choice
  }

  /// The value of `--without`.
  func omittedInputs() throws -> Set<OmittedInput> {
    let names = value("--without")?.split(separator: ",").map(String.init) ?? []
    return Set(
      try names.map { name in
        guard let input = OmittedInput(rawValue: name) else {
          let known = OmittedInput.allCases.map(\.rawValue).joined(separator: ", ")
          throw UsageError(message: "--without \(name): the inputs are \(known)")
        }
        return input
      })
  }
}
