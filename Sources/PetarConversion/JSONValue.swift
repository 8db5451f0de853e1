import CPetar
import Petar

/// The JSON of a checkpoint: config.json, a shard index, a safetensors header. Read by the exact reader that the
/// tokenizer's files need.
package typealias JSONValue = TokenizerJSONValue

extension JSONValue {
  /// The members of a file that is one JSON object.
  /// - Throws: `PETAR_ERROR_BAD_FILE` when it is not, or when it has two members of the same name.
  package static func object(_ bytes: [UInt8], source: String) throws -> [String: JSONValue] {
    guard let members = try JSONValue(parsing: bytes, source: source).members else {
      throw PetarError(PETAR_ERROR_BAD_FILE, "\(source): this is not a JSON object")
    }
    var object: [String: JSONValue] = [:]
    for (name, value) in members {
      guard object.updateValue(value, forKey: name) == nil else {
        throw PetarError(PETAR_ERROR_BAD_FILE, "\(source): \"\(name)\" is there twice")
      }
    }
    return object
  }

  package var isNull: Bool { if case .null = self { true } else { false } }
  package var number: Double? { if case .number(let number) = self { number } else { nil } }
  /// A whole number small enough to be exact.
  package var integer: Int? { number.flatMap { abs($0) <= 0x1p53 ? Int(exactly: $0) : nil } }

  /// As in the file, for messages.
  package var written: String { json.text }

  package var json: JSON {
    switch self {
    case .null: .null
    case .bool(let value): .bool(value)
    case .number(let value): .number(value)
    case .string(let value): .string(value)
    case .array(let values): .array(values.map(\.json))
    case .object(let members): .object(members.map { ($0.name, $0.value.json) })
    }
  }
}
