import CPetar
import Glibc

/// Opens a regular file to be read; the caller closes it.
/// - Parameter wanted: what to give in place of a folder or a pipe, for the message.
/// - Throws: `PETAR_ERROR_IO`.
package func openFile(_ path: String, wanted: String) throws -> (descriptor: Int32, byteCount: Int) {
  // Not blocking: opening a pipe must not wait for somebody to write to it.
  let descriptor = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK)
  var status = stat()
  guard descriptor >= 0, fstat(descriptor, &status) == 0 else {
    let error = fileError("open", path)
    if descriptor >= 0 { close(descriptor) }
    throw error
  }
  guard status.st_mode & S_IFMT == S_IFREG else {
    close(descriptor)
    throw PetarError(PETAR_ERROR_IO, "cannot open \(path): it is not a regular file; give \(wanted)")
  }
  return (descriptor, Int(status.st_size))
}

/// `PETAR_ERROR_IO` with the system's reason (errno).
package func fileError(_ verb: String, _ path: String) -> PetarError {
  PetarError(PETAR_ERROR_IO, "cannot \(verb) \(path): \(String(cString: strerror(errno)))")
}
