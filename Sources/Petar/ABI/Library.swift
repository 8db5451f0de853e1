import CPetar

@c @implementation
public func petar_status_name(_ status: petar_status) -> UnsafePointer<CChar>? {
  let name: StaticString =
    switch status {
    case PETAR_OK: "PETAR_OK"
    case PETAR_ERROR_INVALID_ARGUMENT: "PETAR_ERROR_INVALID_ARGUMENT"
    case PETAR_ERROR_BUSY: "PETAR_ERROR_BUSY"
    case PETAR_ERROR_UNSUPPORTED: "PETAR_ERROR_UNSUPPORTED"
    case PETAR_ERROR_BUFFER_TOO_SMALL: "PETAR_ERROR_BUFFER_TOO_SMALL"
    case PETAR_CANCELLED: "PETAR_CANCELLED"
    case PETAR_ERROR_OUT_OF_MEMORY: "PETAR_ERROR_OUT_OF_MEMORY"
    case PETAR_ERROR_IO: "PETAR_ERROR_IO"
    case PETAR_ERROR_BAD_FILE: "PETAR_ERROR_BAD_FILE"
    case PETAR_ERROR_CHECKSUM: "PETAR_ERROR_CHECKSUM"
    case PETAR_ERROR_FILE_VERSION: "PETAR_ERROR_FILE_VERSION"
    case PETAR_ERROR_BAD_VOLUME: "PETAR_ERROR_BAD_VOLUME"
    case PETAR_ERROR_BAD_GEOMETRY: "PETAR_ERROR_BAD_GEOMETRY"
    case PETAR_ERROR_BAD_UNIT: "PETAR_ERROR_BAD_UNIT"
    case PETAR_ERROR_EMPTY_MASK: "PETAR_ERROR_EMPTY_MASK"
    case PETAR_ERROR_MASK_OUTSIDE: "PETAR_ERROR_MASK_OUTSIDE"
    case PETAR_ERROR_BAD_TEXT: "PETAR_ERROR_BAD_TEXT"
    case PETAR_ERROR_CONTEXT_FULL: "PETAR_ERROR_CONTEXT_FULL"
    case PETAR_ERROR_NOT_FINITE: "PETAR_ERROR_NOT_FINITE"
    case PETAR_ERROR_INTERNAL: "PETAR_ERROR_INTERNAL"
    default: "unknown status"
    }
  return cString(name)
}

@c @implementation
public func petar_version() -> UnsafePointer<CChar>? { cString(Library.version) }

@c @implementation
public func petar_build_info(
  _ buffer: UnsafeMutablePointer<CChar>?, _ size: UnsafeMutablePointer<Int>?
) -> petar_status {
  status { try handOut(Library.description.text, buffer, size) }
}

/// A literal's bytes, which are NUL-terminated and live as long as the library.
private func cString(_ literal: StaticString) -> UnsafePointer<CChar> {
  UnsafeRawPointer(literal.utf8Start).assumingMemoryBound(to: CChar.self)
}
