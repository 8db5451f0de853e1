import CPetar
import CZlib
import Glibc
import Petar
import PetarConversion

/// Writes volumes as .nii.gz. The same voxels always give the same bytes: no time, no name is stored.
enum NIfTIWriter {
  /// - Parameters:
  ///   - slope: what a stored number is multiplied with.
  ///   - note: at most 79 characters that travel in the header.
  /// - Throws: `PETAR_ERROR_IO`.
  static func write<T: FixedWidthInteger>(
    _ voxels: [T], grid: PhantomGrid, slope: Float = 1, note: String, path: String
  ) throws {
    let type: (code: Int16, bits: Int16) = T.self == UInt8.self ? (2, 8) : (4, 16)
    var header = ByteWriter()
    header.integer(Int32(348))
    header.raw(repeatElement(0, count: 36))
    let extents = [3, grid.shape.x, grid.shape.y, grid.shape.z, 1, 1, 1, 1]
    extents.forEach { header.integer(Int16(clamping: $0)) }
    header.raw(repeatElement(0, count: 14))
    header.integer(type.code)
    header.integer(type.bits)
    header.integer(Int16(0))
    [1, grid.spacing.x, grid.spacing.y, grid.spacing.z, 0, 0, 0, 0].forEach { header.float($0) }
    header.float(352)
    header.float(slope)
    header.float(0)
    header.integer(Int16(0))
    // Slice code, and millimetres.
    header.raw([0, 2])
    header.raw(repeatElement(0, count: 24))
    let text = Array(note.utf8.prefix(79))
    header.raw(text)
    header.raw(repeatElement(0, count: 104 - text.count))
    // Scanner coordinates, both as quaternion and as matrix.
    header.integer(Int16(1))
    header.integer(Int16(1))
    [0, 0, 0, grid.origin.x, grid.origin.y, grid.origin.z].forEach { header.float($0) }
    for axis in 0..<3 {
      for column in 0..<3 { header.float(column == axis ? grid.spacing[axis] : 0) }
      header.float(grid.origin[axis])
    }
    header.raw(repeatElement(0, count: 16))
    header.raw([UInt8(ascii: "n"), UInt8(ascii: "+"), UInt8(ascii: "1"), 0])
    // No extensions.
    header.raw([0, 0, 0, 0])
    let packed = try voxels.withUnsafeBytes { try gzip(header.bytes, $0, path: path) }
    try writeFile(packed, path: path)
  }

  private static func gzip(_ header: [UInt8], _ voxels: UnsafeRawBufferPointer, path: String) throws -> [UInt8] {
    var stream = z_stream()
    // 15 bits of window, 16 more for a gzip header without a time. Level 3 takes a third of the time of 6 and leaves
    // noise, which most of the bytes are, no larger.
    guard
      deflateInit2_(
        &stream, 3, Z_DEFLATED, 15 + 16, 9, Z_DEFAULT_STRATEGY, ZLIB_VERSION, Int32(MemoryLayout<z_stream>.size))
        == Z_OK
    else { throw PetarError(PETAR_ERROR_OUT_OF_MEMORY, "\(path): no memory to compress it") }
    defer { deflateEnd(&stream) }
    let bound = Int(deflateBound(&stream, UInt(header.count + voxels.count)))
    return try [UInt8](unsafeUninitializedCapacity: bound) { output, count in
      stream.next_out = output.baseAddress
      stream.avail_out = UInt32(clamping: bound)
      header.withUnsafeBufferPointer { bytes in
        stream.next_in = UnsafeMutablePointer(mutating: bytes.baseAddress)
        stream.avail_in = UInt32(clamping: bytes.count)
        _ = deflate(&stream, Z_NO_FLUSH)
      }
      stream.next_in = UnsafeMutablePointer(mutating: voxels.bindMemory(to: UInt8.self).baseAddress)
      stream.avail_in = UInt32(clamping: voxels.count)
      guard deflate(&stream, Z_FINISH) == Z_STREAM_END else {
        throw PetarError(PETAR_ERROR_OUT_OF_MEMORY, "\(path): it could not be compressed")
      }
      count = bound - Int(stream.avail_out)
    }
  }
}

/// Writes a whole file.
/// - Throws: `PETAR_ERROR_IO` with the system's reason; what was written is removed.
func writeFile(_ bytes: [UInt8], path: String) throws {
  let descriptor = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0o644)
  guard descriptor >= 0 else { throw fileError(path, errno) }
  var failure = bytes.withUnsafeBytes { writeAll($0, to: descriptor) }
  if close(descriptor) != 0, failure == 0 { failure = errno }
  guard failure == 0 else {
    unlink(path)
    throw fileError(path, failure)
  }
}

/// Writes a whole file in the place of the one at `path`, which stays until the new one is complete.
/// - Throws: `PETAR_ERROR_IO` with the system's reason.
func replaceFile(_ bytes: [UInt8], path: String) throws {
  try writeFile(bytes, path: path + ".partial")
  guard rename(path + ".partial", path) == 0 else { throw fileError(path, errno) }
}

func fileError(_ path: String, _ reason: Int32) -> PetarError {
  PetarError(PETAR_ERROR_IO, "\(path): \(String(cString: strerror(reason)))")
}
