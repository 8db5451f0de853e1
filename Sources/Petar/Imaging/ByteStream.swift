import CPetar
import CZlib
import Glibc

/// A file, or bytes in memory, that can be read at any place.
final class Input {
  private enum Place {
    case file(descriptor: Int32)
    case memory(UnsafeRawBufferPointer)
  }

  let source: String
  /// Bytes it holds.
  let count: Int
  private let place: Place

  init(_ bytes: UnsafeRawBufferPointer, source: String) {
    self.source = source
    self.count = bytes.count
    self.place = .memory(bytes)
  }

  /// - Throws: `PETAR_ERROR_IO` with the system's reason.
  init(path: String) throws {
    let file = try openFile(path, wanted: "a NIfTI file; convert a folder of DICOM files to .nii.gz first")
    self.source = path
    self.count = file.byteCount
    self.place = .file(descriptor: file.descriptor)
  }

  deinit {
    if case .file(let descriptor) = place { close(descriptor) }
  }

  /// Fills `target` with what lies at `offset`; fewer bytes come back at the end only.
  func read(at offset: Int, into target: UnsafeMutableRawBufferPointer) throws -> Int {
    guard let base = target.baseAddress, offset >= 0, offset < count else { return 0 }
    switch place {
    case .memory(let bytes):
      guard let start = bytes.baseAddress else { return 0 }
      let length = min(target.count, count - offset)
      memcpy(base, start + offset, length)
      return length
    case .file(let descriptor):
      var done = 0
      while done < target.count {
        let length = pread(descriptor, base + done, target.count - done, off_t(offset + done))
        if length < 0, errno == EINTR { continue }
        if length < 0 { throw fileError("read", source) }
        if length == 0 { break }
        done += length
      }
      return done
    }
  }

  var isGzip: Bool {
    get throws {
      var magic: (UInt8, UInt8) = (0, 0)
      let length = try withUnsafeMutableBytes(of: &magic) { try read(at: 0, into: $0) }
      return length == 2 && magic.0 == 0x1f && magic.1 == 0x8b
    }
  }
}

/// Bytes one after another, unpacked if they were gzipped. Unpacks no more than it is asked for.
struct ByteStream {
  /// No deflate stream grows by more than this (a byte of input makes at most 1032 bytes).
  private static let largestGrowth = 1032
  /// Most bytes that may lie before the voxels, or behind them where they have to be unpacked to be checked.
  static let mostBesideVoxels = 256 << 20

  private let input: Input
  private let gzip: GzipReader?
  private(set) var position = 0

  init(_ input: Input) throws {
    self.input = input
    self.gzip = try input.isGzip ? GzipReader(input) : nil
  }

  var source: String { input.source }

  /// Whether the input can hold `end` bytes at all, told from its size.
  func canReach(_ end: Int) -> Bool {
    guard gzip != nil else { return end <= input.count }
    let (most, overflow) = input.count.multipliedReportingOverflow(by: Self.largestGrowth)
    return overflow || end <= most
  }

  /// Fills `target` or throws `PETAR_ERROR_BAD_VOLUME`.
  mutating func read(into target: UnsafeMutableRawBufferPointer, _ what: String) throws {
    let length = try gzip?.read(into: target) ?? input.read(at: position, into: target)
    position += length
    guard length == target.count else {
      throw PetarError(
        PETAR_ERROR_BAD_VOLUME,
        "\(source): ends within its \(what), \(target.count - length) bytes too early; the file is truncated, copy it "
          + "again")
    }
  }

  /// Lets zlib compare checksums by unpacking the rest.
  mutating func checkEnd() throws {
    guard let gzip else { return }
    var scratch = [UInt8](repeating: 0, count: 1 << 14)
    for _ in 0...(Self.mostBesideVoxels / scratch.count) {
      let length = try scratch.withUnsafeMutableBytes { try gzip.read(into: $0) }
      if gzip.isTruncated {
        throw PetarError(
          PETAR_ERROR_BAD_VOLUME, "\(source): its gzip data ends too early; the file is truncated, copy it again")
      }
      if length < scratch.count { return }
    }
    throw PetarError(
      PETAR_ERROR_BAD_VOLUME,
      "\(source): more than \(Self.mostBesideVoxels) bytes follow its voxels; write it again with one 3-D frame only")
  }

  /// Goes forward to `offset`.
  mutating func skip(to offset: Int, _ what: String) throws {
    guard gzip != nil else {
      position = offset
      return
    }
    var scratch = [UInt8](repeating: 0, count: 1 << 14)
    while position < offset {
      let length = min(scratch.count, offset - position)
      try scratch.withUnsafeMutableBytes {
        try read(into: UnsafeMutableRawBufferPointer(rebasing: $0[..<length]), what)
      }
    }
  }
}

/// Unpacks gzip (RFC 1952), several members one after another included. Bytes behind the last member are ignored.
private final class GzipReader {
  private let input: Input
  private let chunk: Buffer<UInt8>
  private let stream: UnsafeMutablePointer<z_stream>
  private var offset = 0
  private var ended = false
  /// The input ended within a member.
  private(set) var isTruncated = false

  init(_ input: Input) throws {
    self.input = input
    self.chunk = try Buffer(count: 1 << 16)
    self.stream = .allocate(capacity: 1)
    stream.initialize(to: z_stream())
    // 15 bits of window, +16: gzip.
    let status = inflateInit2_(stream, 15 + 16, ZLIB_VERSION, Int32(MemoryLayout<z_stream>.size))
    guard status == Z_OK else { throw failure(status) }
  }

  deinit {
    inflateEnd(stream)
    stream.deallocate()
  }

  /// Fills `target`; fewer bytes come back at the end only.
  func read(into target: UnsafeMutableRawBufferPointer) throws -> Int {
    guard let base = target.bindMemory(to: UInt8.self).baseAddress else { return 0 }
    var done = 0
    while done < target.count, !ended {
      if stream.pointee.avail_in == 0 { try refill() }
      let window = min(target.count - done, 1 << 30)
      stream.pointee.next_out = base + done
      stream.pointee.avail_out = UInt32(window)
      let starved = stream.pointee.avail_in == 0
      let status = inflate(stream, Z_NO_FLUSH)
      done += window - Int(stream.pointee.avail_out)
      switch status {
      case Z_STREAM_END: try nextMember()
      case Z_OK where !starved: continue
      case Z_OK, Z_BUF_ERROR:
        // The input is used up within a member.
        if starved {
          ended = true
          isTruncated = true
        }
      default: throw failure(status)
      }
    }
    return done
  }

  private func failure(_ status: Int32) -> PetarError {
    if status == Z_MEM_ERROR {
      return PetarError(PETAR_ERROR_OUT_OF_MEMORY, "\(input.source): out of memory while unpacking; free memory")
    }
    let reason = stream.pointee.msg.map { String(cString: $0) } ?? "error \(status)"
    return PetarError(
      PETAR_ERROR_BAD_VOLUME,
      "\(input.source): zlib cannot unpack its gzip data (\(reason)); copy the file again or unpack it with gunzip")
  }

  private func refill() throws {
    let length = try input.read(at: offset, into: UnsafeMutableRawBufferPointer(chunk.elements))
    offset += length
    stream.pointee.next_in = chunk.base
    stream.pointee.avail_in = UInt32(length)
  }

  private func nextMember() throws {
    if stream.pointee.avail_in == 0 { try refill() }
    if stream.pointee.avail_in > 0, stream.pointee.next_in.pointee == 0x1f {
      inflateReset(stream)
    } else {
      ended = true
    }
  }
}
