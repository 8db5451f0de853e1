/// Little-endian bytes for the parts of a .petar file that `ByteReader` reads back.
package struct ByteWriter {
  package private(set) var bytes: [UInt8] = []

  package init() {}

  package mutating func integer<T: FixedWidthInteger>(_ value: T) {
    withUnsafeBytes(of: value.littleEndian) { bytes.append(contentsOf: $0) }
  }

  package mutating func float(_ value: Float) { integer(value.bitPattern) }
  package mutating func double(_ value: Double) { integer(value.bitPattern) }

  package mutating func raw(_ data: some Sequence<UInt8>) { bytes.append(contentsOf: data) }

  /// A 32-bit byte count and UTF-8.
  package mutating func string(_ text: String) {
    let utf8 = Array(text.utf8)
    integer(UInt32(clamping: utf8.count))
    raw(utf8)
  }
}
