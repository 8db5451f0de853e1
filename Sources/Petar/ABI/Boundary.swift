import CPetar
import Glibc

// What every function of petar.h does at the boundary: errors become a status and a message, pointers are checked,
// params structs of any known or future size are read, arrays and strings are handed out by size.

/// Runs `body`; a thrown error becomes its status, and its sentence the thread's message.
func status(_ body: () throws -> Void) -> petar_status {
  do {
    try body()
    return PETAR_OK
  } catch {
    let error = asPetarError(error)
    setMessage(error.message)
    return error.status
  }
}

private func setMessage(_ message: String) {
  var message = message
  message.withUTF8 { utf8 in
    utf8.withMemoryRebound(to: CChar.self) { cpetar_set_message($0.baseAddress, $0.count) }
  }
}

func invalid(_ message: String) -> PetarError { PetarError(PETAR_ERROR_INVALID_ARGUMENT, message) }

/// The pointer, or an error that names the argument that was NULL.
func require<Pointer>(_ pointer: Pointer?, _ name: StaticString) throws -> Pointer {
  guard let pointer else { throw invalid("\(name) is NULL") }
  return pointer
}

/// A NUL-terminated UTF-8 string of the caller's.
func text(_ pointer: UnsafePointer<CChar>, _ name: StaticString) throws -> String {
  guard let text = String(validatingCString: pointer) else {
    throw PetarError(PETAR_ERROR_BAD_TEXT, "\(name) is not valid UTF-8")
  }
  return text
}

/// A caller's params struct: its fields over `defaults`.
///
/// One from an older header may be shorter: what it does not have keeps its default. One from a newer header may be
/// longer; it is accepted while what this library does not know is zero.
/// - Parameter first: bytes the struct had in the release it came with, which stay the least when fields are appended.
func read<Params: BitwiseCopyable>(
  _ pointer: UnsafePointer<Params>, over defaults: Params, first: Int, _ name: StaticString
) throws -> Params {
  let raw = UnsafeRawPointer(pointer)
  let given = raw.loadUnaligned(as: Int.self)
  let known = min(given, MemoryLayout<Params>.stride)
  guard given >= first, given <= 1 << 16 else {
    throw invalid(
      "\(name)->struct_size is \(UInt(bitPattern: given)), less than \(first) or more than 65536 bytes; "
        + "fill the struct with its _init function and sizeof")
  }
  for offset in known..<given where raw.load(fromByteOffset: offset, as: UInt8.self) != 0 {
    throw PetarError(
      PETAR_ERROR_UNSUPPORTED,
      "\(name) sets a field at byte \(offset) that this library (\(Library.version)) does not know; use a newer library"
    )
  }
  var params = defaults
  withUnsafeMutableBytes(of: &params) { $0.copyMemory(from: UnsafeRawBufferPointer(start: raw, count: known)) }
  return params
}

/// Fills a caller's params struct with defaults, as far as the caller's header knows it.
func initialize<Params: BitwiseCopyable>(_ pointer: UnsafeMutablePointer<Params>?, _ size: Int, _ defaults: Params) {
  guard let pointer, size >= MemoryLayout<Int>.size else { return }
  let raw = UnsafeMutableRawPointer(pointer)
  memset(raw, 0, min(size, 1 << 16))
  withUnsafeBytes(of: defaults) { defaults in
    UnsafeMutableRawBufferPointer(start: raw, count: size)
      .copyMemory(from: UnsafeRawBufferPointer(rebasing: defaults.prefix(size)))
  }
  raw.storeBytes(of: size, as: Int.self)
}

/// Whether there is a buffer to write `needed` elements to; says through `size` how many that are.
///
/// False when the caller only asked for the size. Asked before long work, not after it.
func fits<Element>(
  _ needed: Int, _ buffer: UnsafeMutablePointer<Element>?, _ size: UnsafeMutablePointer<Int>?
) throws -> Bool {
  let size = try require(size, "the size or count argument")
  let capacity = UInt(bitPattern: size.pointee)
  size.pointee = needed
  guard buffer != nil else { return false }
  guard capacity >= UInt(needed) else {
    throw PetarError(PETAR_ERROR_BUFFER_TOO_SMALL, "the buffer holds \(capacity), \(needed) are needed")
  }
  return true
}

/// Hands out `values`: `size` is the buffer's capacity on entry and what is needed on return.
func handOut<Element: BitwiseCopyable>(
  _ values: UnsafeBufferPointer<Element>, _ buffer: UnsafeMutablePointer<Element>?,
  _ size: UnsafeMutablePointer<Int>?
) throws {
  if try fits(values.count, buffer, size), let buffer, let base = values.baseAddress {
    buffer.update(from: base, count: values.count)
  }
}

func handOut<Element: BitwiseCopyable>(
  _ values: [Element], _ buffer: UnsafeMutablePointer<Element>?, _ size: UnsafeMutablePointer<Int>?
) throws {
  try values.withUnsafeBufferPointer { try handOut($0, buffer, size) }
}

func handOut(
  _ text: String, _ buffer: UnsafeMutablePointer<CChar>?, _ size: UnsafeMutablePointer<Int>?
) throws {
  try handOut(text.utf8.map { CChar(truncatingIfNeeded: $0) } + [0], buffer, size)
}

/// Gives an object to the caller, who frees it with `release`.
func hand<Object: AnyObject>(_ object: Object) -> OpaquePointer {
  OpaquePointer(Unmanaged.passRetained(object).toOpaque())
}

func object<Object: AnyObject>(_ pointer: OpaquePointer?, as _: Object.Type, _ name: StaticString) throws -> Object {
  Unmanaged<Object>.fromOpaque(UnsafeRawPointer(try require(pointer, name))).takeUnretainedValue()
}

func release<Object: AnyObject>(_ pointer: OpaquePointer?, as _: Object.Type) {
  if let pointer { Unmanaged<Object>.fromOpaque(UnsafeRawPointer(pointer)).release() }
}

/// A value behind an opaque pointer.
final class Handle<Value: Sendable>: Sendable {
  let value: Value
  init(_ value: Value) { self.value = value }
}
