import CPetar
import Petar
import PetarConversion

/// Takes the members of a JSON object one by one; what nobody asked for is refused by its name.
struct RecipeReader {
  let source: String
  private var members: [(name: String, value: JSONValue)]
  private var known: [String] = []

  init(_ value: JSONValue, _ source: String) throws {
    guard let members = value.members else {
      throw PetarError(PETAR_ERROR_BAD_FILE, "\(source): this is no JSON object")
    }
    guard Set(members.map(\.name)).count == members.count else {
      throw PetarError(PETAR_ERROR_BAD_FILE, "\(source): a name is there twice")
    }
    self.members = members
    self.source = source
  }

  func fail(_ name: String, _ value: JSONValue, _ wanted: String) -> PetarError {
    PetarError(PETAR_ERROR_BAD_FILE, "\(source): \"\(name)\" is \(value.written); \(wanted) is expected")
  }

  /// nil for null, too.
  mutating func take(_ name: String) -> JSONValue? {
    known.append(name)
    guard let place = members.firstIndex(where: { $0.name == name }) else { return nil }
    let value = members.remove(at: place).value
    return value.isNull ? nil : value
  }

  mutating func text(_ name: String) throws -> String? {
    guard let value = take(name) else { return nil }
    guard let text = value.text, !text.isEmpty else { throw fail(name, value, "a text") }
    return text
  }

  /// A list of some of `all`, which is the default.
  mutating func texts(_ name: String, _ all: [String]) throws -> [String] {
    guard let value = take(name) else { return all }
    let texts = value.elements?.compactMap(\.text) ?? []
    guard !texts.isEmpty, texts.count == value.elements?.count, texts.allSatisfy(all.contains) else {
      throw fail(name, value, "a list of \(quoted(all))")
    }
    return texts
  }

  /// A list of any texts; none unless given.
  mutating func texts(_ name: String) throws -> [String] {
    guard let value = take(name) else { return [] }
    let texts = value.elements?.compactMap(\.text) ?? []
    guard texts.count == value.elements?.count else { throw fail(name, value, "a list of texts") }
    return texts
  }

  mutating func choice<Choice: RawRepresentable & CaseIterable>(
    _ name: String, _ standard: Choice
  ) throws -> Choice where Choice.RawValue == String {
    guard let value = take(name) else { return standard }
    guard let choice = value.text.flatMap({ Choice(rawValue: $0) }) else {
      throw fail(name, value, "one of \(quoted(Choice.allCases.map(\.rawValue)))")
    }
    return choice
  }

  mutating func whole(_ name: String, _ standard: Int, in range: ClosedRange<Int>) throws -> Int {
    guard let value = take(name) else { return standard }
    guard let number = value.integer, range.contains(number) else {
      throw fail(name, value, "a whole number in \(range.lowerBound)...\(range.upperBound)")
    }
    return number
  }

  mutating func number(_ name: String, _ standard: Double, in range: ClosedRange<Double>) throws -> Double {
    guard let value = take(name) else { return standard }
    guard let number = value.number, range.contains(number) else {
      throw fail(name, value, "a number in \(range.lowerBound)...\(range.upperBound)")
    }
    return number
  }

  mutating func flag(_ name: String, _ standard: Bool) throws -> Bool {
    guard let value = take(name) else { return standard }
    guard let flag = value.flag else { throw fail(name, value, "true or false") }
    return flag
  }

  /// An object without members where there is none.
  mutating func object(_ name: String) throws -> RecipeReader {
    try RecipeReader(take(name) ?? .object([]), "\(source): \(name)")
  }

  mutating func objects(_ name: String) throws -> [RecipeReader] {
    let value = take(name) ?? .array([])
    guard let elements = value.elements else { throw fail(name, value, "a list of objects") }
    return try elements.enumerated().map { try RecipeReader($1, "\(source): \(name)[\($0)]") }
  }

  /// - Throws: for a member that nobody took: a misspelt setting must not be a silent default.
  func finish() throws {
    guard let rest = members.first else { return }
    throw PetarError(
      PETAR_ERROR_BAD_FILE, "\(source): there is no setting \"\(rest.name)\"; there are \(quoted(known))")
  }

  private func quoted(_ names: [String]) -> String { names.map { "\"\($0)\"" }.joined(separator: ", ") }
}
