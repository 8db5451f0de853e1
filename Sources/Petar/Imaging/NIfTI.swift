import CPetar
import Glibc

/// Reads NIfTI-1 and NIfTI-2: .nii, .hdr/.img, gzipped or not, both byte orders, one frame of real numbers.
package enum NIfTI {
  /// What a file says: everything but the meaning of the values.
  package struct Image: Sendable {
    package let type: VoxelType
    package let grid: Grid
    package let slope: Double
    package let intercept: Double
    let storage: Buffer<UInt8>
  }

  /// - Throws: `PETAR_ERROR_IO`, `PETAR_ERROR_BAD_VOLUME`, `PETAR_ERROR_BAD_GEOMETRY`, `PETAR_ERROR_OUT_OF_MEMORY`.
  package static func read(path: String) throws -> Image {
    var path = path
    for (image, header) in [(".img", ".hdr"), (".img.gz", ".hdr.gz")] where path.hasSuffix(image) {
      // Writers differ in whether they pack both files of a pair.
      let stem = path.dropLast(image.count)
      path = [header, ".hdr", ".hdr.gz"].map { stem + $0 }.first { access($0, R_OK) == 0 } ?? stem + header
    }
    return try read(Input(path: path)) {
      for header in [".hdr.gz", ".hdr"] where path.hasSuffix(header) {
        let stem = path.dropLast(header.count)
        let candidates = header == ".hdr" ? [".img", ".img.gz"] : [".img.gz", ".img"]
        return try Input(path: candidates.map { stem + $0 }.first { access($0, R_OK) == 0 } ?? stem + candidates[0])
      }
      throw PetarError(
        PETAR_ERROR_BAD_VOLUME,
        "\(path): the header half of a .hdr/.img pair; give it the name NAME.hdr next to NAME.img")
    }
  }

  /// A file in memory, gzipped or not.
  /// - Parameter image: the .img half of a pair.
  package static func parse(
    _ bytes: UnsafeRawBufferPointer, image: UnsafeRawBufferPointer? = nil, source: String
  ) throws -> Image {
    try read(Input(bytes, source: source)) {
      guard let image else {
        throw PetarError(PETAR_ERROR_BAD_VOLUME, "\(source): the header half of a .hdr/.img pair; voxels are missing")
      }
      return Input(image, source: source)
    }
  }

  private static func read(_ input: Input, pair: () throws -> Input) throws -> Image {
    var stream = try ByteStream(input)
    let header = try readHeader(&stream)
    if header.paired {
      try stream.checkEnd()
      stream = try ByteStream(try pair())
    }
    let shape = try Volume.validated(shape: header.shape, source: stream.source)
    let encoding = try Encoding(header.encoding, source: stream.source)
    let bytes = shape.x * shape.y * shape.z * encoding.size
    guard stream.canReach(header.voxelOffset + bytes) else {
      // Told before any memory is taken: a header may claim anything.
      throw PetarError(
        PETAR_ERROR_BAD_VOLUME,
        "\(stream.source): too small for the \(shape.x) x \(shape.y) x \(shape.z) voxels its header claims; the file "
          + "is truncated or damaged, copy it again")
    }
    try stream.skip(to: header.voxelOffset, "header extensions")
    let storage = try Buffer<UInt8>(count: bytes)
    try stream.read(into: UnsafeMutableRawBufferPointer(storage.elements), "voxels")
    try stream.checkEnd()
    if header.bigEndian { swapBytes(storage, size: encoding.size) }
    try encoding.convert(storage, source: stream.source)
    return Image(
      type: encoding.type, grid: Grid(shape: shape, affine: header.affine), slope: header.slope,
      intercept: header.intercept, storage: storage)
  }

  private static func readHeader(_ stream: inout ByteStream) throws -> NIfTIHeader {
    let notNIfTI = "\(stream.source): not a NIfTI file (no header of 348 or 540 bytes); convert it to .nii.gz first"
    guard stream.canReach(NIfTIHeader.smallestSize) else { throw PetarError(PETAR_ERROR_BAD_VOLUME, notNIfTI) }
    var bytes = [UInt8](repeating: 0, count: NIfTIHeader.largestSize)
    return try bytes.withUnsafeMutableBytes { buffer in
      func read(_ range: Range<Int>) throws {
        try stream.read(into: UnsafeMutableRawBufferPointer(rebasing: buffer[range]), "header")
      }
      try read(0..<4)
      guard let (size, bigEndian) = NIfTIHeader.size(buffer.loadUnaligned(as: UInt32.self)) else {
        throw PetarError(PETAR_ERROR_BAD_VOLUME, notNIfTI)
      }
      try read(4..<size)
      return try NIfTIHeader(
        UnsafeRawBufferPointer(rebasing: buffer[..<size]), bigEndian: bigEndian, source: stream.source)
    }
  }

  private static func swapBytes(_ storage: Buffer<UInt8>, size: Int) {
    func swap<T: FixedWidthInteger>(_: T.Type) {
      let words = UnsafeMutableRawPointer(storage.base).assumingMemoryBound(to: T.self)
      for index in 0..<(storage.count / size) { words[index] = words[index].byteSwapped }
    }
    switch size {
    case 2: swap(UInt16.self)
    case 4: swap(UInt32.self)
    case 8: swap(UInt64.self)
    default: break
    }
  }

  /// The datatype codes of the standard that hold one real number each.
  private enum Encoding {
    case direct(VoxelType)
    /// 64-bit integers are kept as f64 if they fit.
    case int64
    case uint64

    init(_ code: Int, source: String) throws {
      switch code {
      case 2: self = .direct(.uint8)
      case 4: self = .direct(.int16)
      case 8: self = .direct(.int32)
      case 16: self = .direct(.float32)
      case 64: self = .direct(.float64)
      case 256: self = .direct(.int8)
      case 512: self = .direct(.uint16)
      case 768: self = .direct(.uint32)
      case 1024: self = .int64
      case 1280: self = .uint64
      default:
        let names = [
          1: "binary", 32: "complex64", 128: "RGB24", 1536: "float128", 1792: "complex128", 2048: "complex256",
          2304: "RGBA32",
        ]
        throw PetarError(
          PETAR_ERROR_BAD_VOLUME,
          "\(source): voxels of type \(names[code] ?? "code \(code)") are not supported; convert them to an integer or "
            + "float type")
      }
    }

    var type: VoxelType {
      switch self {
      case .direct(let type): type
      case .int64, .uint64: .float64
      }
    }

    var size: Int { type.size }

    /// Turns 64-bit integers into f64 where they lie.
    func convert(_ storage: Buffer<UInt8>, source: String) throws {
      func convert<T: FixedWidthInteger>(_: T.Type) throws {
        let base = UnsafeMutableRawPointer(storage.base)
        for offset in stride(from: 0, to: storage.count, by: 8) {
          let integer = base.load(fromByteOffset: offset, as: T.self)
          guard let exact = Double(exactly: integer) else {
            throw PetarError(
              PETAR_ERROR_BAD_VOLUME, "\(source): voxel value \(integer) does not fit a double; store it as float64")
          }
          base.storeBytes(of: exact, toByteOffset: offset, as: Double.self)
        }
      }
      switch self {
      case .direct: break
      case .int64: try convert(Int64.self)
      case .uint64: try convert(UInt64.self)
      }
    }
  }
}

extension Volume {
  /// Reads a NIfTI file. The format does not say what PET values are, so the caller does.
  package static func read(niftiPath path: String, unit: Unit, suvFactor: Double = 1) throws -> Volume {
    try Volume(NIfTI.read(path: path), unit: unit, suvFactor: suvFactor, source: path)
  }

  package init(_ image: NIfTI.Image, unit: Unit, suvFactor: Double = 1, source: String) throws {
    try self.init(
      storage: image.storage, type: image.type, grid: image.grid, unit: unit, suvFactor: suvFactor,
      slope: image.slope, intercept: image.intercept, source: source)
  }
}
