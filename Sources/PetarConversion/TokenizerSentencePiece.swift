import CPetar
import Petar

/// Reads a SentencePiece model: the protocol buffer ModelProto (sentencepiece_model.proto), as far as it says how
/// text becomes pieces.
///
/// - Throws: `PETAR_ERROR_UNSUPPORTED` for what is not plain BPE, `PETAR_ERROR_BAD_FILE` for damage; both name the file.
func readSentencePiece(_ bytes: UnsafeRawBufferPointer, source: String) throws -> TokenizerDefinition {
  var definition = TokenizerDefinition()
  // The defaults of the format where a field is absent.
  definition.removeExtraWhitespaces = true
  definition.byteFallback = false
  var modelType: UInt64 = 1
  func refuse(_ what: String) -> PetarError { PetarError(PETAR_ERROR_UNSUPPORTED, "\(source): \(what)") }

  try eachField(of: bytes, source: source) { number, field in
    switch number {
    case 1: definition.pieces.append(try readPiece(field.bytes(), source: source))
    case 2:
      try eachField(of: field.bytes(), source: source) { number, field in
        switch number {
        case 3: modelType = try field.integer()
        case 24:
          if try field.integer() != 0 { throw refuse("treat_whitespace_as_suffix is not supported") }
        case 35: definition.byteFallback = try field.integer() != 0
        case 44: definition.unknownSurface = try field.text()
        default: break
        }
      }
    case 3: try readNormalizer(field.bytes(), into: &definition, source: source)
    case 5:
      try eachField(of: field.bytes(), source: source) { number, field in
        if number == 2, try !field.bytes().isEmpty { throw refuse("a denormalizer is not supported") }
      }
    default: break
    }
  }
  guard !definition.pieces.isEmpty else {
    throw PetarError(PETAR_ERROR_BAD_FILE, "\(source): not a SentencePiece model: it has no pieces")
  }
  guard modelType == 2 else {
    let name = [1: "unigram", 3: "word", 4: "char"][modelType] ?? "type \(modelType)"
    throw refuse("a SentencePiece model of type \(name) is not supported; PETAR and M3D checkpoints use BPE")
  }
  return definition
}

private func readPiece(_ bytes: UnsafeRawBufferPointer, source: String) throws -> TokenizerDefinition.Piece {
  var piece = TokenizerDefinition.Piece("")
  try eachField(of: bytes, source: source) { number, field in
    switch number {
    case 1: piece.text = try field.text()
    case 2: piece.score = try field.float()
    case 3:
      let raw = try field.integer()
      guard let kind = UInt8(exactly: raw).flatMap(TokenizerDefinition.Piece.Kind.init) else {
        throw PetarError(PETAR_ERROR_UNSUPPORTED, "\(source): a piece of type \(raw) is not known")
      }
      piece.kind = kind
    default: break
    }
  }
  guard !piece.text.isEmpty else { throw PetarError(PETAR_ERROR_BAD_FILE, "\(source): a piece has no text") }
  return piece
}

private func readNormalizer(
  _ bytes: UnsafeRawBufferPointer, into definition: inout TokenizerDefinition, source: String
) throws {
  var name = ""
  var hasCharacterMap = false
  try eachField(of: bytes, source: source) { number, field in
    switch number {
    case 1: name = try field.text()
    case 2: hasCharacterMap = try !field.bytes().isEmpty
    case 3: definition.addDummyPrefix = try field.integer() != 0
    case 4: definition.removeExtraWhitespaces = try field.integer() != 0
    case 5:
      guard try field.integer() != 0 else {
        throw PetarError(PETAR_ERROR_UNSUPPORTED, "\(source): escape_whitespaces = false is not supported")
      }
    default: break
    }
  }
  if hasCharacterMap {
    throw PetarError(
      PETAR_ERROR_UNSUPPORTED,
      "\(source): normalization \"\(name)\" is not supported; PETAR and M3D checkpoints use \"identity\"")
  }
}

/// The value of one field of a protocol buffer message.
private struct Field {
  enum Value {
    case varint(UInt64)
    case fixed32(UInt32)
    case fixed64
    case block(UnsafeRawBufferPointer)
  }
  let value: Value
  let source: String

  private func fail(_ what: String) -> PetarError {
    PetarError(PETAR_ERROR_BAD_FILE, "\(source): not a SentencePiece model: \(what)")
  }
  func integer() throws -> UInt64 {
    guard case .varint(let value) = value else { throw fail("a field is no integer where one should be") }
    return value
  }
  func float() throws -> Float {
    guard case .fixed32(let value) = value else { throw fail("a field is no number where one should be") }
    return Float(bitPattern: value)
  }
  func bytes() throws -> UnsafeRawBufferPointer {
    guard case .block(let bytes) = value else { throw fail("a field is no text or message where one should be") }
    return bytes
  }
  func text() throws -> String {
    guard let text = String(validating: try bytes(), as: UTF8.self) else { throw fail("a text is not UTF-8") }
    return text
  }
}

/// Calls `body` with the number and the value of each field of a protocol buffer message.
private func eachField(
  of message: UnsafeRawBufferPointer, source: String, _ body: (UInt64, Field) throws -> Void
) throws {
  var reader = ByteReader(message, source: source)
  while reader.remaining > 0 {
    let key = try varint(&reader)
    let value: Field.Value
    switch key & 7 {
    case 0: value = .varint(try varint(&reader))
    case 1:
      _ = try reader.take(8)
      value = .fixed64
    case 2:
      let length = try varint(&reader)
      guard length <= UInt64(reader.remaining) else {
        throw reader.fail("ends too early: a field has \(length) bytes, \(reader.remaining) are left")
      }
      value = .block(try reader.take(Int(length)))
    case 5: value = .fixed32(try reader.integer())
    default: throw reader.fail("not a SentencePiece model: wire type \(key & 7) is not known")
    }
    try body(key >> 3, Field(value: value, source: source))
  }
}

private func varint(_ reader: inout ByteReader) throws -> UInt64 {
  var value: UInt64 = 0
  for shift in stride(from: UInt64(0), to: 64, by: 7) {
    let byte: UInt8 = try reader.integer()
    value |= UInt64(byte & 0x7F) << shift
    if byte < 0x80 { return value }
  }
  throw reader.fail("not a SentencePiece model: a number is too long")
}
