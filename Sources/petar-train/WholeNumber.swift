import PetarConsole

extension Arguments {
  func wholeNumber(_ name: String, in range: ClosedRange<Int>) throws -> Int {
    let text = try required(name)
    guard let number = Int(text), range.contains(number) else {
      throw UsageError(
        message: "\(name) \(text): a whole number in \(range.lowerBound)...\(range.upperBound) is expected")
    }
    return number
  }
}
