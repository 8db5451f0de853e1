import CPetar
import Petar

/// JSON with the members of objects in order and their names byte for byte.
///
/// A vocabulary is an object whose names may be canonically equivalent ("é" in its two spellings): a dictionary
/// with `String` keys, such as JSONSerialization makes, would lose one of them.
package indirect enum TokenizerJSONValue {
  case null
  case bool(Bool)
  case number(Double)
  case string(String)
  case array([TokenizerJSONValue])
  case object([(name: String, value: TokenizerJSONValue)])

  /// - Throws: `PETAR_ERROR_BAD_FILE` that names `source` and the position.
  package init(parsing bytes: [UInt8], source: String) throws {
    var parser = Parser(bytes: bytes, source: source)
    self = try parser.document()
  }

  /// The last member of that name; nil for none and for null.
  package subscript(_ name: String) -> TokenizerJSONValue? {
    guard let value = member(name) else { return nil }
    if case .null = value { return nil }
    return value
  }

  /// The last member of that name, null included.
  package func member(_ name: String) -> TokenizerJSONValue? {
    guard case .object(let members) = self else { return nil }
    return members.last { $0.name == name }?.value
  }

  package var text: String? {
    if case .string(let text) = self { text } else { nil }
  }
  package var flag: Bool? {
    if case .bool(let flag) = self { flag } else { nil }
  }
  /// A whole number that fits a token id.
  var id: Int32? {
    if case .number(let number) = self { Int32(exactly: number) } else { nil }
  }
  package var elements: [TokenizerJSONValue]? {
    if case .array(let elements) = self { elements } else { nil }
  }
  package var members: [(name: String, value: TokenizerJSONValue)]? {
    if case .object(let members) = self { members } else { nil }
  }
}

private struct Parser {
  let bytes: [UInt8]
  let source: String
  var position = 0
  var depth = 0

  func fail(_ what: String) -> PetarError {
    PetarError(PETAR_ERROR_BAD_FILE, "\(source): not valid JSON at byte \(position): \(what)")
  }

  var current: UInt8? { position < bytes.count ? bytes[position] : nil }

  mutating func document() throws -> TokenizerJSONValue {
    let value = try value()
    skipSpace()
    guard current == nil else { throw fail("more after the end") }
    return value
  }

  mutating func skipSpace() {
    while let byte = current, byte == 0x20 || byte == 0x0A || byte == 0x0D || byte == 0x09 { position += 1 }
  }

  mutating func accept(_ character: Unicode.Scalar) -> Bool {
    skipSpace()
    guard current == UInt8(ascii: character) else { return false }
    position += 1
    return true
  }

  mutating func value() throws -> TokenizerJSONValue {
    skipSpace()
    guard let byte = current else { throw fail("it ends too early") }
    switch byte {
    case UInt8(ascii: "{"): return .object(try object())
    case UInt8(ascii: "["): return .array(try array())
    case UInt8(ascii: "\""): return .string(try string())
    case UInt8(ascii: "t"): return try word("true", .bool(true))
    case UInt8(ascii: "f"): return try word("false", .bool(false))
    case UInt8(ascii: "n"): return try word("null", .null)
    default: return .number(try number())
    }
  }

  mutating func enter() throws {
    depth += 1
    guard depth <= 128 else { throw fail("nested too deeply") }
    position += 1
  }

  mutating func object() throws -> [(name: String, value: TokenizerJSONValue)] {
    try enter()
    defer { depth -= 1 }
    var members: [(name: String, value: TokenizerJSONValue)] = []
    if accept("}") { return members }
    repeat {
      skipSpace()
      guard current == UInt8(ascii: "\"") else { throw fail("a member name is missing") }
      let name = try string()
      guard accept(":") else { throw fail("':' is missing") }
      members.append((name, try value()))
    } while accept(",")
    guard accept("}") else { throw fail("'}' is missing") }
    return members
  }

  mutating func array() throws -> [TokenizerJSONValue] {
    try enter()
    defer { depth -= 1 }
    var elements: [TokenizerJSONValue] = []
    if accept("]") { return elements }
    repeat { elements.append(try value()) } while accept(",")
    guard accept("]") else { throw fail("']' is missing") }
    return elements
  }

  mutating func word(_ word: String, _ value: TokenizerJSONValue) throws -> TokenizerJSONValue {
    guard bytes[position...].starts(with: word.utf8) else { throw fail("'\(word)' expected") }
    position += word.utf8.count
    return value
  }

  mutating func number() throws -> Double {
    let digits = bytes[position...].prefix { (0x30...0x39).contains($0) || "+-.eE".utf8.contains($0) }
    guard let value = Double(String(decoding: digits, as: UTF8.self)) else { throw fail("a value expected") }
    position += digits.count
    return value
  }

  mutating func string() throws -> String {
    position += 1
    var text: [UInt8] = []
    while let byte = current {
      position += 1
      switch byte {
      case UInt8(ascii: "\""):
        guard let string = String(validating: text, as: UTF8.self) else { throw fail("a string is not UTF-8") }
        return string
      case UInt8(ascii: "\\"): text += String(try escape()).utf8
      case ..<0x20: throw fail("a control character in a string")
      default: text.append(byte)
      }
    }
    throw fail("a string does not end")
  }

  mutating func escape() throws -> Unicode.Scalar {
    guard let byte = current else { throw fail("a string does not end") }
    position += 1
    switch byte {
    case UInt8(ascii: "\""), UInt8(ascii: "\\"), UInt8(ascii: "/"): return Unicode.Scalar(byte)
    case UInt8(ascii: "b"): return "\u{8}"
    case UInt8(ascii: "f"): return "\u{C}"
    case UInt8(ascii: "n"): return "\n"
    case UInt8(ascii: "r"): return "\r"
    case UInt8(ascii: "t"): return "\t"
    case UInt8(ascii: "u"):
      let unit = try codeUnit()
      guard UTF16.isLeadSurrogate(unit) else {
        guard let scalar = Unicode.Scalar(unit) else { throw fail("half a surrogate pair") }
        return scalar
      }
      guard bytes[position...].starts(with: "\\u".utf8) else { throw fail("half a surrogate pair") }
      position += 2
      let trail = try codeUnit()
      guard UTF16.isTrailSurrogate(trail) else { throw fail("half a surrogate pair") }
      return UTF16.decode(UTF16.EncodedScalar([unit, trail]))
    default: throw fail("an unknown escape in a string")
    }
  }

  mutating func codeUnit() throws -> UInt16 {
    let digits = bytes[position...].prefix(4)
    guard digits.count == 4, digits.allSatisfy({ Unicode.Scalar($0).properties.isASCIIHexDigit }),
      let unit = UInt16(String(decoding: digits, as: UTF8.self), radix: 16)
    else { throw fail("four hexadecimal digits expected") }
    position += 4
    return unit
  }
}
