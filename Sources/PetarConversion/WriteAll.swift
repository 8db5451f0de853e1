import Glibc

/// Writes all of `bytes` at `offset` of a file. Returns 0, or the system's reason (errno) for stopping before the end.
package func writeAll(_ bytes: UnsafeRawBufferPointer, to descriptor: Int32, at offset: Int = 0) -> Int32 {
  var done = 0
  while done < bytes.count {
    let count = pwrite(descriptor, bytes.baseAddress.map { $0 + done }, bytes.count - done, off_t(offset + done))
    if count < 0, errno == EINTR { continue }
    guard count > 0 else { return count < 0 ? errno : EIO }
    done += count
  }
  return 0
}
