import CPetar

/// The one reader for bytes that come from a file: every read is checked against what is left, every sum and
/// product for overflow, so that hostile bytes end in an error and never in a trap.
package struct ByteReader {
  package let bytes: UnsafeRawBufferPointer
  package private(set) var offset = 0
  /// What is read, for messages: "scan.nii.gz", "directory of model.petar".
  package let source: String
  package let status: petar_status
  package var bigEndian: Bool

  package init(
    _ bytes: UnsafeRawBufferPointer, source: String, status: petar_status = PETAR_ERROR_BAD_FILE,
    bigEndian: Bool = false
  ) {
    self.bytes = bytes
    self.source = source
    self.status = status
    self.bigEndian = bigEndian
  }

  package var remaining: Int { bytes.count - offset }

  package func fail(_ what: String) -> PetarError { PetarError(status, "\(source): \(what)") }

  package mutating func seek(to position: Int) throws {
    guard position >= 0, position <= bytes.count else {
      throw fail("position \(position) lies outside its \(bytes.count) bytes; the file is damaged or truncated")
    }
    offset = position
  }

  /// The next `count` bytes, not copied.
  package mutating func take(_ count: Int) throws -> UnsafeRawBufferPointer {
    guard count >= 0, count <= remaining else {
      throw fail("ends too early: \(count) bytes wanted at \(offset), \(remaining) left; the file is truncated")
    }
    defer { offset += count }
    return UnsafeRawBufferPointer(rebasing: bytes[offset..<(offset + count)])
  }

  package mutating func integer<T: FixedWidthInteger>(_: T.Type = T.self) throws -> T {
    let raw = try take(MemoryLayout<T>.size).loadUnaligned(as: T.self)
    return bigEndian ? T(bigEndian: raw) : T(littleEndian: raw)
  }

  /// A count or an offset that must fit `Int` and not exceed `limit`.
  package mutating func size(_ what: String, limit: Int = Int.max) throws -> Int {
    let raw: UInt64 = try integer()
    guard raw <= UInt64(limit) else { throw fail("\(what) is \(raw), more than \(limit); the file is damaged") }
    return Int(raw)
  }

  package mutating func float() throws -> Float { Float(bitPattern: try integer()) }
  package mutating func double() throws -> Double { Double(bitPattern: try integer()) }

  /// A string stored as a 32-bit byte count and UTF-8.
  package mutating func string(_ what: String, limit: Int = 1 << 24) throws -> String {
    let count: UInt32 = try integer()
    guard count <= limit else { throw fail("\(what) has \(count) bytes, more than \(limit); the file is damaged") }
    guard let text = String(validating: try take(Int(count)), as: UTF8.self) else {
      throw fail("\(what) is not UTF-8; the file is damaged")
    }
    return text
  }
}

/// The product, or nil on overflow. Not variadic: the array of the factors would be memory, and decoding takes none.
package func product(_ a: Int, _ b: Int, _ c: Int = 1, _ d: Int = 1) -> Int? {
  let ab = a.multipliedReportingOverflow(by: b)
  let abc = ab.partialValue.multipliedReportingOverflow(by: c)
  let abcd = abc.partialValue.multipliedReportingOverflow(by: d)
  return ab.overflow || abc.overflow || abcd.overflow ? nil : abcd.partialValue
}
