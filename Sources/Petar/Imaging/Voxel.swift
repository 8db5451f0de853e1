/// How a voxel is stored. Raw values are those of `petar_data_type`.
package enum VoxelType: Int32, Sendable, CaseIterable {
  case uint8 = 1
  case int8 = 2
  case int16 = 3
  case uint16 = 4
  case int32 = 5
  case uint32 = 6
  case float32 = 7
  case float64 = 8

  /// Bytes of a voxel.
  package var size: Int {
    switch self {
    case .uint8, .int8: 1
    case .int16, .uint16: 2
    case .int32, .uint32, .float32: 4
    case .float64: 8
    }
  }

  /// Shows `visitor` the stored numbers. One switch here gives every algorithm a specialized loop for each type.
  func visit<V: VoxelVisitor>(_ storage: Buffer<UInt8>, _ visitor: V) throws -> V.Result {
    switch self {
    case .uint8: try visitor.visit(Voxels<UInt8>(bytes: storage))
    case .int8: try visitor.visit(Voxels<Int8>(bytes: storage))
    case .int16: try visitor.visit(Voxels<Int16>(bytes: storage))
    case .uint16: try visitor.visit(Voxels<UInt16>(bytes: storage))
    case .int32: try visitor.visit(Voxels<Int32>(bytes: storage))
    case .uint32: try visitor.visit(Voxels<UInt32>(bytes: storage))
    case .float32: try visitor.visit(Voxels<Float>(bytes: storage))
    case .float64: try visitor.visit(Voxels<Double>(bytes: storage))
    }
  }
}

/// A stored number.
protocol Voxel: BitwiseCopyable, Comparable, Sendable {
  var number: Double { get }
  var isFiniteNumber: Bool { get }
}

extension Voxel where Self: FixedWidthInteger {
  var number: Double { Double(self) }
  var isFiniteNumber: Bool { true }
}

extension UInt8: Voxel {}
extension Int8: Voxel {}
extension Int16: Voxel {}
extension UInt16: Voxel {}
extension Int32: Voxel {}
extension UInt32: Voxel {}
extension Float: Voxel {
  var number: Double { Double(self) }
  var isFiniteNumber: Bool { isFinite }
}
extension Double: Voxel {
  var number: Double { self }
  var isFiniteNumber: Bool { isFinite }
}

/// An algorithm over the voxels of a volume, written once for all data types.
protocol VoxelVisitor {
  associatedtype Result
  func visit<T: Voxel>(_ voxels: Voxels<T>) throws -> Result
}

/// The stored numbers of a volume, in file order. Read only, so any thread may hold it.
struct Voxels<T: Voxel>: @unchecked Sendable {
  private(set) var base: UnsafePointer<T>
  let count: Int
  private let owner: AnyObject & Sendable

  /// Numbers in a volume's bytes.
  init(bytes: Buffer<UInt8>) {
    base = UnsafeRawPointer(bytes.base).assumingMemoryBound(to: T.self)
    count = bytes.count / MemoryLayout<T>.stride
    owner = bytes
  }

  init(_ numbers: Buffer<T>) {
    base = UnsafePointer(numbers.base)
    count = numbers.count
    owner = numbers
  }

  /// The same voxels counted from another one; offsets may then be negative.
  func advanced(by offset: Int) -> Voxels {
    var result = self
    result.base += offset
    return result
  }
}
