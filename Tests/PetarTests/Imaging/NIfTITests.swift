import CPetar
import CZlib
import Foundation
import Petar
import Testing

private typealias Phantom = ImagingPhantom

@Suite("NIfTI") struct NIfTITests {
  private static let folder = ImagingReference.folder.appending(path: "nifti")

  @Test("Every way nibabel writes an image reads back with its affine")
  func variants() throws {
    let lines = try String(contentsOf: Self.folder.appending(path: "expected.txt"), encoding: .utf8).split(
      separator: "\n")
    #expect(lines.count == 39)
    for line in lines {
      let fields = line.split(separator: " ")
      let image = try NIfTI.read(path: Self.folder.appending(path: String(fields[0])).path)
      let expected = fields.dropFirst().compactMap { Double($0) }
      #expect(image.grid.shape == SIMD3(3, 4, 5))
      let affine = image.grid.affine
      for (column, vector) in [affine.x, affine.y, affine.z, affine.origin].enumerated() {
        for row in 0..<3 {
          // Quaternions are f32 in NIfTI-1, and squared.
          #expect(abs(vector[row] - expected[row * 4 + column]) < 1e-6, "\(fields[0])")
        }
      }
      let volume = try Volume(image, unit: .label, source: String(fields[0]))
      for index in 0..<60 {
        let (i, j, k) = (index % 3, index / 3 % 4, index / 12)
        #expect(volume.value(at: SIMD3(i, j, k)) == Double(i + 4 * j + 16 * k), "\(fields[0])")
      }
    }
  }

  private func value(at index: SIMD3<Int>, _ image: NIfTI.Image) throws -> Double? {
    try Volume(image, unit: .suv, source: "test").value(at: index)
  }

  @Test func pairsAreFoundByEitherHalf() throws {
    for name in ["v1_pair.hdr", "v1_pair.img", "v2_packed_pair.hdr.gz", "v2_packed_pair.img.gz"] {
      #expect(try value(at: SIMD3(2, 3, 4), NIfTI.read(path: Self.folder.appending(path: name).path)) == 78)
    }
  }

  @Test func filesThatCannotBeRead() throws {
    let missing = try Phantom.failure { _ = try NIfTI.read(path: "/nonexistent/pet.nii.gz") }
    #expect(missing.status == PETAR_ERROR_IO)
    #expect(missing.message.contains("No such file or directory"))
    let folder = try Phantom.failure { _ = try NIfTI.read(path: Self.folder.path) }
    #expect(folder.status == PETAR_ERROR_IO)
    #expect(folder.message.contains("convert a folder of DICOM files to .nii.gz first"))
    #expect(try Phantom.failure { _ = try NIfTI.read(path: "/dev/null") }.status == PETAR_ERROR_IO)
    try withTemporaryFolder { folder in
      try #require(mkfifo("\(folder)/pet.nii", 0o600) == 0)
      expectFailure(PETAR_ERROR_IO, "not a regular file") { _ = try NIfTI.read(path: "\(folder)/pet.nii") }
    }
  }

  // MARK: Headers made by hand

  /// A NIfTI-1 file of 2 x 2 x 2 int16 voxels 0...7, with bytes replaced.
  private func file(_ changes: [Int: [UInt8]] = [:], voxelBytes: Int = 16) -> [UInt8] {
    var bytes = [UInt8](repeating: 0, count: 352 + voxelBytes)
    func put(_ value: some FixedWidthInteger, at offset: Int) {
      withUnsafeBytes(of: value.littleEndian) { bytes.replaceSubrange(offset..<(offset + $0.count), with: $0) }
    }
    put(Int32(348), at: 0)
    for (index, extent) in [3, 2, 2, 2, 1, 1, 1, 1].enumerated() { put(Int16(extent), at: 40 + 2 * index) }
    put(Int16(4), at: 70)
    put(Float(352).bitPattern, at: 108)
    put(Float(1).bitPattern, at: 112)
    put(Int16(1), at: 254)
    for (index, value) in Phantom.affine(spacing: SIMD3(2, 2, 2)).prefix(12).enumerated() {
      put(Float(value).bitPattern, at: 280 + 4 * index)
    }
    bytes.replaceSubrange(344..<348, with: [UInt8(ascii: "n"), UInt8(ascii: "+"), UInt8(ascii: "1"), 0])
    for index in 0..<8 where 352 + 2 * index + 1 < bytes.count { put(Int16(index), at: 352 + 2 * index) }
    for (offset, values) in changes { bytes.replaceSubrange(offset..<(offset + values.count), with: values) }
    return bytes
  }

  private func bytes(_ value: some FixedWidthInteger) -> [UInt8] { withUnsafeBytes(of: value.littleEndian, Array.init) }
  private func bytes(_ value: Float) -> [UInt8] { bytes(value.bitPattern) }

  private func parse(_ bytes: [UInt8]) throws -> NIfTI.Image {
    try bytes.withUnsafeBytes { try NIfTI.parse($0, source: "test.nii") }
  }

  private func parse(_ header: [UInt8], image: [UInt8]) throws -> NIfTI.Image {
    try header.withUnsafeBytes { header in
      try image.withUnsafeBytes { image in try NIfTI.parse(header, image: image, source: "test.hdr") }
    }
  }

  private func contents(_ name: String) throws -> [UInt8] {
    [UInt8](try Data(contentsOf: Self.folder.appending(path: name)))
  }

  @Test func smallestFile() throws {
    let image = try parse(file())
    #expect((image.type, image.slope, image.intercept) == (.int16, 1, 0))
    #expect(try value(at: SIMD3(1, 1, 1), image) == 7)
    // Bytes behind the voxels are nobody's business; a slope of 0 means unscaled; 4-D with one frame is 3-D.
    #expect(try value(at: SIMD3(1, 0, 0), parse(file() + [1, 2, 3])) == 1)
    #expect(try parse(file([112: bytes(Float(0)), 116: bytes(Float.nan)])).slope == 1)
    #expect(try parse(file([40: bytes(Int16(4))])).grid.shape == SIMD3(2, 2, 2))
    let scaled = try parse(file([112: bytes(Float(0.5)), 116: bytes(Float(-3))]))
    #expect((scaled.slope, scaled.intercept) == (0.5, -3))
  }

  @Test func damagedHeaders() throws {
    let damaged: [(String, [Int: [UInt8]])] = [
      ("not a NIfTI file", [0: bytes(Int32(349))]),
      ("not NIfTI", [344: [0, 0, 0, 0]]),
      ("dimensions", [40: bytes(Int16(0))]),
      ("dimensions", [40: bytes(Int16(8))]),
      ("2 x 2 is not three extents above 0", [40: bytes(Int16(2))]),
      ("not three extents above 0", [42: bytes(Int16(0))]),
      ("not three extents above 0", [44: bytes(Int16(-2))]),
      ("not one 3-D frame", [40: bytes(Int16(4)), 48: bytes(Int16(2))]),
      ("too small", [42: bytes(Int16(3000)), 44: bytes(Int16(3000))]),
      ("voxels are more than", [42: [255, 127, 255, 127, 255, 127]]),
      ("complex64", [70: bytes(Int16(32))]),
      ("RGB24", [70: bytes(Int16(128))]),
      ("RGBA32", [70: bytes(Int16(2304))]),
      ("float128", [70: bytes(Int16(1536))]),
      ("code 0", [70: bytes(Int16(0))]),
      ("voxel offset", [108: bytes(Float.nan)]),
      ("voxel offset", [108: bytes(Float(-1))]),
      ("voxel offset", [108: bytes(Float(100))]),
      ("voxel offset", [108: bytes(Float(4e18))]),
      ("too small", [108: bytes(Float(256 << 20))]),
      ("scl_slope", [112: bytes(Float.nan)]),
      ("scl_slope", [116: bytes(Float.infinity)]),
      ("header half", [345: [UInt8(ascii: "i")]]),
    ]
    for (expected, changes) in damaged {
      let error = try Phantom.failure { _ = try parse(file(changes)) }
      #expect(error.status == PETAR_ERROR_BAD_VOLUME)
      #expect(error.message.contains(expected), "\(error.message)")
    }
  }

  @Test func affinesThatSayNothing() throws {
    for changes in [
      [254: bytes(Int16(0))],  // neither form
      [280: bytes(Float(0))],  // singular sform
      [280: bytes(Float.nan)],
      [123: [1]],  // metres
      [254: bytes(Int16(0)), 252: bytes(Int16(1))],  // qform with voxels of 0 mm
      [
        254: bytes(Int16(0)), 252: bytes(Int16(1)), 80: bytes(Float(2)) + bytes(Float(2)) + bytes(Float(2)),
        256: bytes(Float(3)),
      ],
    ] {
      #expect(try Phantom.failure { _ = try parse(file(changes)) }.status == PETAR_ERROR_BAD_GEOMETRY)
    }
  }

  @Test func wholeNumbersOf64Bits() throws {
    func image(_ value: Int64) throws -> NIfTI.Image {
      try parse(file([70: bytes(Int16(1024)), 352: bytes(value)], voxelBytes: 64))
    }
    #expect(try value(at: .zero, image(-(1 << 53))) == -9_007_199_254_740_992)
    #expect(try Phantom.failure { _ = try image((1 << 53) + 1) }.message.contains("does not fit a double"))
  }

  @Test("Cut off at any byte, packed or not")
  func truncated() throws {
    let plain = file()
    for length in 0..<plain.count {
      #expect(try Phantom.failure { _ = try parse(Array(plain[..<length])) }.status == PETAR_ERROR_BAD_VOLUME)
    }
    let packed = try contents("v1_le_i2.nii.gz")
    for length in 0..<packed.count {
      #expect(try Phantom.failure { _ = try parse(Array(packed[..<length])) }.status == PETAR_ERROR_BAD_VOLUME)
    }
    let (header, image) = (try contents("v1_packed_pair.hdr.gz"), try contents("v1_packed_pair.img.gz"))
    _ = try parse(header, image: image)
    for length in 0..<header.count {
      let failure = try Phantom.failure { _ = try parse(Array(header[..<length]), image: image) }
      #expect(failure.status == PETAR_ERROR_BAD_VOLUME)
    }
    for length in 0..<image.count {
      let failure = try Phantom.failure { _ = try parse(header, image: Array(image[..<length])) }
      #expect(failure.status == PETAR_ERROR_BAD_VOLUME)
    }
  }

  @Test("A flipped byte ends in an image or an error, never in a trap")
  func flippedBytes() throws {
    for original in [file(), try contents("v2_be_f4.nii.gz")] {
      for index in original.indices {
        for flip: UInt8 in [0x01, 0x80, 0xff] {
          var bytes = original
          bytes[index] ^= flip
          do {
            _ = try Volume(parse(bytes), unit: .suv, source: "test")
          } catch let error as PetarError {
            #expect([PETAR_ERROR_BAD_VOLUME, PETAR_ERROR_BAD_GEOMETRY].contains(error.status))
          }
        }
      }
    }
  }

  @Test func severalGzipMembers() throws {
    let members = try gzip(Array(file()[..<100])) + gzip(Array(file()[100...])) + [0, 0, 0, 0]
    #expect(try value(at: SIMD3(1, 1, 1), parse(members)) == 7)
  }

  @Test("Checksums of gzip are compared, however much follows the voxels")
  func gzipChecksums() throws {
    for trailing in [0, 10 << 20] {
      var packed = try gzip(file() + [UInt8](repeating: 0, count: trailing))
      #expect(try value(at: SIMD3(1, 1, 1), parse(packed)) == 7)
      packed[packed.count - 6] ^= 0x01
      expectFailure(PETAR_ERROR_BAD_VOLUME, "incorrect data check") { _ = try parse(packed) }
    }
    // A small file that unpacks to more than anybody waits for.
    let filler = try gzip([UInt8](repeating: 0, count: 16 << 20))
    let endless = try gzip(file()) + (0..<17).flatMap { _ in filler }
    expectFailure(PETAR_ERROR_BAD_VOLUME, "bytes follow its voxels") { _ = try parse(endless) }
    let far = try gzip(file([108: bytes(Float(1 << 30))])) + endless
    expectFailure(PETAR_ERROR_BAD_VOLUME, "voxel offset") { _ = try parse(far) }
  }
}

/// Packed as one gzip member.
private func gzip(_ bytes: [UInt8]) throws -> [UInt8] {
  var stream = z_stream()
  try #require(
    deflateInit2_(
      &stream, 9, Z_DEFLATED, 15 + 16, 8, Z_DEFAULT_STRATEGY, ZLIB_VERSION, Int32(MemoryLayout<z_stream>.size)) == Z_OK)
  defer { deflateEnd(&stream) }
  var input = bytes
  var output = [UInt8](repeating: 0, count: bytes.count + 1024)
  return input.withUnsafeMutableBufferPointer { source in
    let count = output.withUnsafeMutableBufferPointer { target in
      stream.next_in = source.baseAddress
      stream.avail_in = uInt(source.count)
      stream.next_out = target.baseAddress
      stream.avail_out = uInt(target.count)
      deflate(&stream, Z_FINISH)
      return target.count - Int(stream.avail_out)
    }
    return Array(output[..<count])
  }
}
