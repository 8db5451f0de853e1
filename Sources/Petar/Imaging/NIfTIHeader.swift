import CPetar

/// The part of a NIfTI-1 or NIfTI-2 header that says where voxels are and what they mean.
struct NIfTIHeader {
  static let smallestSize = 348
  static let largestSize = 540

  let bigEndian: Bool
  /// Voxels lie in a second file (.img).
  let paired: Bool
  let shape: [Int]
  let encoding: Int
  let voxelOffset: Int
  let slope: Double
  let intercept: Double
  let affine: Affine

  /// Bytes of the header whose first four bytes are `start`; nil if that is no NIfTI header.
  static func size(_ start: UInt32) -> (size: Int, bigEndian: Bool)? {
    for (value, bigEndian) in [(UInt32(littleEndian: start), false), (UInt32(bigEndian: start), true)] {
      if value == 348 || value == 540 { return (Int(value), bigEndian) }
    }
    return nil
  }

  /// - Parameter bytes: a whole header, `size(_:)` bytes.
  init(_ bytes: UnsafeRawBufferPointer, bigEndian: Bool, source: String) throws {
    var reader = ByteReader(bytes, source: source, status: PETAR_ERROR_BAD_VOLUME, bigEndian: bigEndian)
    let second = bytes.count == Self.largestSize
    func real() throws -> Double { second ? try reader.double() : Double(try reader.float()) }
    func reals(_ count: Int) throws -> [Double] { try (0..<count).map { _ in try real() } }

    try reader.seek(to: second ? 4 : 344)
    let magic = [UInt8](try reader.take(4))
    let number = UInt8(ascii: second ? "2" : "1")
    guard magic[0] == UInt8(ascii: "n"), magic[2] == number, magic[3] == 0,
      magic[1] == UInt8(ascii: "+") || magic[1] == UInt8(ascii: "i")
    else { throw reader.fail("not NIfTI: its magic bytes say something else; convert it to .nii.gz first") }
    let paired = magic[1] == UInt8(ascii: "i")

    try reader.seek(to: second ? 16 : 40)
    let dimensions: [Int] = try (0..<8).map { _ in
      second ? Int(try reader.integer(Int64.self)) : Int(try reader.integer(Int16.self))
    }
    self.shape = try Self.shape(dimensions, reader)
    try reader.seek(to: second ? 12 : 70)
    self.encoding = Int(try reader.integer(Int16.self))
    try reader.seek(to: second ? 104 : 76)
    let spacing = try reals(4)

    try reader.seek(to: second ? 168 : 108)
    let stored = second ? Double(try reader.integer(Int64.self)) : Double(try reader.float())
    // A single file with offset 0 means "right behind the header" (and the four bytes that announce extensions).
    let offset = !paired && stored == 0 ? Double(bytes.count + 4) : stored
    guard offset >= Double(paired ? 0 : bytes.count), offset <= Double(ByteStream.mostBesideVoxels) else {
      throw reader.fail(
        "its voxel offset \(stored) lies in the header or beyond \(ByteStream.mostBesideVoxels); write the file again")
    }
    self.voxelOffset = Int(offset)

    try reader.seek(to: second ? 176 : 112)
    let slope = try real()
    let intercept = try real()
    guard slope.isFinite, slope == 0 || intercept.isFinite else {
      throw reader.fail(
        "scl_slope \(slope) and scl_inter \(intercept) are not numbers; write 1 and 0 for unscaled data")
    }
    // The standard: a slope of 0 means unscaled.
    (self.slope, self.intercept) = slope == 0 ? (1, 0) : (slope, intercept)

    // The standard's codes: 1 metre, 2 millimetre, 3 micrometre, 0 not said (millimetres in practice).
    try reader.seek(to: second ? 500 : 123)
    let lengthUnit = (second ? Int(try reader.integer(Int32.self)) : Int(try reader.integer(UInt8.self))) & 7
    guard lengthUnit != 1, lengthUnit != 3 else {
      throw PetarError(
        PETAR_ERROR_BAD_GEOMETRY,
        "\(source): its header measures in \(lengthUnit == 1 ? "metres" : "micrometres"); write it in millimetres")
    }
    try reader.seek(to: second ? 344 : 252)
    let qformCode = second ? Int(try reader.integer(Int32.self)) : Int(try reader.integer(Int16.self))
    let sformCode = second ? Int(try reader.integer(Int32.self)) : Int(try reader.integer(Int16.self))
    try reader.seek(to: second ? 352 : 256)
    let quaternion = try reals(3)
    let offsets = try reals(3)
    let rows = try reals(12)
    do {
      if sformCode > 0 {
        self.affine = try Affine(rows: rows + [0, 0, 0, 1])
      } else if qformCode > 0 {
        self.affine = try Self.qform(quaternion, offsets, spacing: spacing)
      } else {
        throw PetarError(
          PETAR_ERROR_BAD_GEOMETRY,
          "neither sform nor qform is set, so nobody knows where its voxels lie; write the header with an affine")
      }
    } catch let error as PetarError {
      throw PetarError(error.status, "\(source): \(error.message)")
    }
    self.paired = paired
    self.bigEndian = bigEndian
  }

  /// One to three extents as they stand; `Volume.validated` looks at them.
  private static func shape(_ dimensions: [Int], _ reader: ByteReader) throws -> [Int] {
    guard (1...7).contains(dimensions[0]) else {
      throw reader.fail("it claims \(dimensions[0]) dimensions, NIfTI has 1 to 7; the file is damaged, copy it again")
    }
    let extents = dimensions[1...dimensions[0]]
    guard extents.dropFirst(3).allSatisfy({ $0 == 1 }) else {
      let text = extents.map(String.init).joined(separator: " x ")
      throw reader.fail("\(text) voxels are not one 3-D frame; extract the frame wanted")
    }
    return Array(extents.prefix(3))
  }

  /// Method 2 of the NIfTI-1 standard: rotation from the unit quaternion's b, c, d, voxel sizes from pixdim,
  /// handedness from pixdim[0].
  private static func qform(_ quaternion: [Double], _ origin: [Double], spacing: [Double]) throws -> Affine {
    let (b, c, d) = (quaternion[0], quaternion[1], quaternion[2])
    let rest = 1 - (b * b + c * c + d * d)
    // b, c, d are f32 in NIfTI-1; for half turns their squares may sum to a little more than 1.
    guard rest > -1e-5, spacing[1...3].allSatisfy({ $0 > 0 && $0.isFinite }) else {
      throw PetarError(
        PETAR_ERROR_BAD_GEOMETRY,
        "its qform (quaternion \(b), \(c), \(d), voxels of \(spacing[1]) x \(spacing[2]) x \(spacing[3]) mm) is no "
          + "rotation; write the header with an affine")
    }
    let a = abs(rest) < 3 * 0x1p-23 ? 0 : max(rest, 0).squareRoot()
    let scale = 2 / (a * a + b * b + c * c + d * d)
    let (bs, cs, ds) = (b * scale, c * scale, d * scale)
    let handedness = spacing[0] < 0 ? -1.0 : 1.0
    let x = SIMD3(1 - (c * cs + d * ds), b * cs + a * ds, b * ds - a * cs) * spacing[1]
    let y = SIMD3(b * cs - a * ds, 1 - (b * bs + d * ds), c * ds + a * bs) * spacing[2]
    let z = SIMD3(b * ds + a * cs, c * ds - a * bs, 1 - (b * bs + c * cs)) * (spacing[3] * handedness)
    return try Affine(rows: [
      x.x, y.x, z.x, origin[0], x.y, y.y, z.y, origin[1], x.z, y.z, z.z, origin[2], 0, 0, 0, 1,
    ])
  }
}
