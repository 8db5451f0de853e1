import CPetar
import Petar

/// Reads rows of a planned tensor as f32, from whatever type and parts the checkpoint has.
struct RowReader {
  let plan: TensorPlan
  /// Values of one row: the last side of a matrix, everything for a vector.
  let columns: Int
  let rows: Int
  private let parts: [CheckpointTensor]
  private let raw: Buffer<UInt8>

  /// - Parameter blockRows: the most rows asked for at once.
  init(_ plan: TensorPlan, tensors: [String: CheckpointTensor], blockRows: Int) throws {
    self.plan = plan
    parts = try plan.parts.map { part in
      guard let tensor = tensors[part.name] else {
        throw PetarError(PETAR_ERROR_INTERNAL, "tensor \(part.name) was planned but is not there")
      }
      return tensor
    }
    let isMatrix = plan.kind != .vector
    columns = isMatrix ? parts[0].shape[1] : parts[0].count
    rows = isMatrix ? parts.reduce(0) { $0 + $1.shape[0] } : 1
    raw = try Buffer(count: min(blockRows, rows) * columns * 4)
  }

  /// Rows `first ..< first + count` into `target`, row after row.
  /// - Throws: `PETAR_ERROR_BAD_FILE` naming the tensor when a value is not finite; `PETAR_ERROR_IO`.
  func read(first: Int, count: Int, into target: UnsafeMutablePointer<Float>) throws {
    var partStart = 0
    for part in parts {
      let partRows = plan.kind == .vector ? 1 : part.shape[0]
      let low = max(first, partStart)
      let high = min(first + count, partStart + partRows)
      if low < high, let type = part.type {
        let values = (high - low) * columns
        let bytes = UnsafeMutableRawBufferPointer(start: raw.base, count: values * type.byteCount)
        try part.file.read(into: bytes, at: part.offset + (low - partStart) * columns * type.byteCount)
        guard Self.convert(bytes, type, to: target + (low - first) * columns, count: values) else {
          throw PetarError(
            PETAR_ERROR_BAD_FILE,
            "tensor \(part.name) holds NaN or infinity in rows \(low - partStart)..<\(high - partStart); "
              + "the checkpoint is damaged or its training diverged")
        }
      }
      partStart += partRows
    }
  }

  /// - Returns: whether all values are finite.
  private static func convert(
    _ bytes: UnsafeMutableRawBufferPointer, _ type: CheckpointType, to target: UnsafeMutablePointer<Float>, count: Int
  ) -> Bool {
    // All exponent bits set is infinity or NaN.
    let exponent: UInt32 = 0x7f80_0000
    var bad = false
    switch type {
    case .f32:
      let source = bytes.assumingMemoryBound(to: UInt32.self)
      for index in 0..<count {
        let bits = UInt32(littleEndian: source[index])
        bad = bad || bits & exponent == exponent
        target[index] = Float(bitPattern: bits)
      }
    case .bf16:
      let source = bytes.assumingMemoryBound(to: UInt16.self)
      for index in 0..<count {
        let bits = UInt32(UInt16(littleEndian: source[index])) << 16
        bad = bad || bits & exponent == exponent
        target[index] = Float(bitPattern: bits)
      }
    case .f16:
      let source = bytes.assumingMemoryBound(to: UInt16.self)
      for index in 0..<count {
        let half = UInt32(UInt16(littleEndian: source[index]))
        bad = bad || half & 0x7c00 == 0x7c00
        // The bits in f32's places read 2^112 times too small; the product is exact, subnormal numbers included.
        let magnitude = Float(bitPattern: (half & 0x7fff) << 13) * 0x1p112
        target[index] = Float(bitPattern: magnitude.bitPattern | (half & 0x8000) << 16)
      }
    }
    return !bad
  }
}
