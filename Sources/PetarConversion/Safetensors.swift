import CPetar
import Petar

/// How the numbers of a checkpoint tensor are stored.
enum CheckpointType: String, Sendable {
  case f32 = "F32"
  case f16 = "F16"
  case bf16 = "BF16"

  var byteCount: Int { self == .f32 ? 4 : 2 }
}

/// A tensor of a checkpoint: its shape and where its bytes lie.
struct CheckpointTensor: Sendable {
  let name: String
  /// nil for types that are not converted; `typeName` has what the file calls it.
  let type: CheckpointType?
  let typeName: String
  let shape: [Int]
  let file: SourceFile
  let offset: Int
  let byteCount: Int

  /// The product of the shape; it fits, as the file holds that many.
  var count: Int { shape.reduce(1, *) }
}

/// The header of a .safetensors file: a length (u64), JSON of that length, then the tensors' bytes.
///
/// Checked as the format's own documentation wants it: every byte behind the header belongs to exactly one tensor.
enum Safetensors {
  /// The format's own limit for the header.
  static let headerLimit = 100_000_000

  /// - Throws: `PETAR_ERROR_BAD_FILE` naming the tensor and the rule that does not hold; `PETAR_ERROR_IO`.
  static func tensors(of file: SourceFile) throws -> [CheckpointTensor] {
    func fail(_ what: String) -> PetarError { PetarError(PETAR_ERROR_BAD_FILE, "\(file.path): \(what)") }
    guard file.byteCount >= 8 else { throw fail("this is not a safetensors file: it has \(file.byteCount) bytes") }
    let lengthBytes = try file.read(8, at: 0)
    let length = lengthBytes.withUnsafeBytes { UInt64(littleEndian: $0.loadUnaligned(as: UInt64.self)) }
    guard length <= headerLimit, Int(length) <= file.byteCount - 8 else {
      throw fail(
        "this is not a safetensors file or it is truncated: a header of \(length) bytes in \(file.byteCount) bytes")
    }
    let header = try JSONValue.object(try file.read(Int(length), at: 8), source: "header of \(file.path)")
    let dataStart = 8 + Int(length)
    let dataBytes = file.byteCount - dataStart

    var tensors: [CheckpointTensor] = []
    for (name, value) in header where name != "__metadata__" {
      guard let typeName = value["dtype"]?.text, let dimensions = value["shape"]?.elements?.map(\.integer),
        let range = value["data_offsets"]?.elements,
        range.count == 2, let begin = range[0].integer, let end = range[1].integer
      else { throw fail("tensor \(name) has no proper dtype, shape and data_offsets") }
      var shape: [Int] = []
      var count = 1
      for dimension in dimensions {
        guard let dimension, dimension >= 0, let larger = product(count, dimension), larger <= 1 << 40 else {
          throw fail("tensor \(name) has an impossible shape")
        }
        shape.append(dimension)
        count = larger
      }
      guard begin >= 0, begin <= end, end <= dataBytes else {
        throw fail("tensor \(name) lies at \(begin)..<\(end), outside the file's \(dataBytes) bytes of data")
      }
      let type = CheckpointType(rawValue: typeName)
      if let type, count * type.byteCount != end - begin {
        throw fail("tensor \(name) of shape \(shape) and type \(typeName) cannot take \(end - begin) bytes")
      }
      tensors.append(
        CheckpointTensor(
          name: name, type: type, typeName: typeName, shape: shape, file: file, offset: dataStart + begin,
          byteCount: end - begin))
    }

    tensors.sort { ($0.offset, $0.byteCount) < ($1.offset, $1.byteCount) }
    var position = dataStart
    for tensor in tensors {
      guard tensor.offset >= position else { throw fail("tensor \(tensor.name) overlaps the one before it") }
      guard tensor.offset == position else {
        throw fail("\(tensor.offset - position) bytes before tensor \(tensor.name) belong to no tensor")
      }
      position += tensor.byteCount
    }
    guard position == file.byteCount else {
      throw fail("\(file.byteCount - position) bytes at the end belong to no tensor")
    }
    return tensors
  }
}
