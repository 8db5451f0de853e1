import CPetar
import Foundation
import Petar
import PetarConversion

/// Writes f32 tensors into a .safetensors file as PyTorch reads it. The file appears complete or not at all.
enum SafetensorsWriter {
  /// Tensors whose values lie one after another.
  struct Stack {
    let parts: [TensorPlan.Part]
    /// Asked for when they are written: they need not all be there at a time.
    let values: () throws -> Buffer<Float>
  }

  /// - Throws: `PETAR_ERROR_IO` with the system's reason, `PETAR_ERROR_INTERNAL` for a value that is not finite, which
  ///   nobody could go on from; what was at `path` is then untouched.
  static func write(_ stacks: [Stack], to path: String) throws {
    let partial = path + ".partial"
    let descriptor = open(partial, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0o666)
    guard descriptor >= 0 else { throw failure("create", partial) }
    do {
      defer { close(descriptor) }
      var end = 0
      func append(_ bytes: UnsafeRawBufferPointer) throws {
        let reason = writeAll(bytes, to: descriptor, at: end)
        guard reason == 0 else { throw failure("write", partial, reason) }
        end += bytes.count
      }
      try header(of: stacks.flatMap(\.parts)).withUnsafeBytes(append)
      for stack in stacks {
        let values = try stack.values()
        guard values.elements.allSatisfy({ $0.isFinite }) else {
          throw PetarError(
            PETAR_ERROR_INTERNAL,
            "\(stack.parts.first?.name ?? path) is not finite: the training diverged; lower the learning rate or clip")
        }
        try append(UnsafeRawBufferPointer(values.elements))
      }
      guard fsync(descriptor) == 0 else { throw failure("write", partial) }
      guard rename(partial, path) == 0 else { throw failure("name", path) }
    } catch {
      unlink(partial)
      throw error
    }
  }

  /// The header's length, then JSON padded with spaces to a multiple of 8.
  private static func header(of tensors: [TensorPlan.Part]) -> [UInt8] {
    var members: [(String, JSON)] = [("__metadata__", .object([("format", .string("pt"))]))]
    var offset = 0
    for tensor in tensors {
      let end = offset + tensor.shape.reduce(4, *)
      members.append(
        (
          tensor.name,
          .object([
            ("dtype", .string("F32")), ("shape", .integers(tensor.shape)), ("data_offsets", .integers([offset, end])),
          ])
        ))
      offset = end
    }
    var text = Array(JSON.object(members).text.utf8)
    text += Array(repeating: UInt8(ascii: " "), count: (8 - text.count % 8) % 8)
    return withUnsafeBytes(of: UInt64(text.count).littleEndian, Array.init) + text
  }

  private static func failure(_ what: String, _ path: String, _ reason: Int32 = errno) -> PetarError {
    PetarError(PETAR_ERROR_IO, "cannot \(what) \(path): \(String(cString: strerror(reason)))")
  }
}
