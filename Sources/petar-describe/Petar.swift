import CPetar
import Petar

extension PetarError {
  /// What the library said of a call that just failed.
  init(last status: petar_status) { self.init(status, String(cString: petar_last_message())) }
}

/// Throws what the library said unless `status` is PETAR_OK.
func check(_ status: petar_status) throws {
  guard status == PETAR_OK else { throw PetarError(last: status) }
}

/// An array that the library hands out by size.
func array<Element>(
  of zero: Element, _ fill: (UnsafeMutablePointer<Element>?, UnsafeMutablePointer<Int>) -> petar_status
) throws -> [Element] {
  var count = 0
  try check(fill(nil, &count))
  var values = [Element](repeating: zero, count: count)
  try check(values.withUnsafeMutableBufferPointer { fill($0.baseAddress, &count) })
  return values
}

/// A string that the library hands out by size.
func string(_ fill: (UnsafeMutablePointer<CChar>?, UnsafeMutablePointer<Int>) -> petar_status) throws -> String {
  String(decoding: try array(of: 0, fill).dropLast().map { UInt8(bitPattern: $0) }, as: UTF8.self)
}
