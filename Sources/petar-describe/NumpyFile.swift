import CPetar
import Glibc
import Petar

/// Writes f32 arrays as NumPy .npy files (format version 1.0, C order).
enum NumpyFile {
  /// - Throws: `PETAR_ERROR_IO` when the file cannot be written.
  static func write(_ values: [Float], shape: [Int], to path: String) throws {
    let extent = shape.map(String.init).joined(separator: ", ") + (shape.count == 1 ? "," : "")
    var header = "{'descr': '<f4', 'fortran_order': False, 'shape': (\(extent)), }"
    // Magic, version and length take 10 bytes; the data starts at a multiple of 64.
    header += String(repeating: " ", count: 63 - (10 + header.utf8.count) % 64) + "\n"
    var bytes: [UInt8] = [0x93] + Array("NUMPY".utf8) + [1, 0]
    bytes += [UInt8(header.utf8.count & 0xFF), UInt8(header.utf8.count >> 8)] + Array(header.utf8)
    values.withUnsafeBytes { bytes.append(contentsOf: $0) }

    guard let file = fopen(path, "wb") else { throw failure(path) }
    let written = fwrite(bytes, 1, bytes.count, file)
    guard fclose(file) == 0, written == bytes.count else { throw failure(path) }
  }

  private static func failure(_ path: String) -> PetarError {
    PetarError(PETAR_ERROR_IO, "\(path): cannot be written: \(String(cString: strerror(errno)))")
  }
}
