import CPetar
import CZstd
import Glibc
import Petar
import Synchronization

/// Writes a .petar file: tensors in pieces, in any order and from several threads, everything else at the end.
///
/// The shapes are known beforehand and so is the place of every tensor. Nothing is seen under the final name before
/// `finish` has put the whole file on the disk; whatever ends the work earlier leaves no file behind.
package final class PetarFileWriter: Sendable {
  package let path: String
  private let temporaryPath: String
  private let descriptor: Int32
  /// The tensors as planned; their checksums come in as they are written.
  private let entries: [PetarFileEntry]
  private let tensorsEnd: Int
  private let state: Mutex<State>

  private struct State {
    var checksums: [Int: [UInt8]] = [:]
    var renamed = false
  }

  private static let serial = Atomic<Int>(0)

  /// Creates the temporary file next to `path` and asks whether there is room for it.
  /// - Throws: `PETAR_ERROR_IO` with the system's reason; a full disk says so here, before any work.
  package init(path: String, tensors: [PetarFileEntry]) throws {
    self.path = path
    var position = PetarFileHeader.byteCount
    entries = try tensors.map { tensor in
      var entry = tensor
      guard let start = PetarFileDirectory.aligned(position), tensor.byteCount <= Int.max - start else {
        throw PetarError(PETAR_ERROR_BAD_FILE, "\(path): the tensors are larger than any file")
      }
      entry.offset = start
      position = start + entry.byteCount
      return entry
    }
    tensorsEnd = position
    let serial = Self.serial.add(1, ordering: .relaxed).newValue
    temporaryPath = "\(path).\(getpid())-\(serial).partial"
    state = Mutex(State())
    descriptor = open(temporaryPath, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0o666)
    guard descriptor >= 0 else { throw Self.failure("create", temporaryPath, errno) }
    var existing = stat()
    guard stat(path, &existing) != 0 || existing.st_mode & S_IFMT != S_IFDIR else {
      throw Self.failure("write", path, EISDIR)
    }
    // A disk that is too full is told now and not after minutes of work.
    var volume = statvfs()
    if fstatvfs(descriptor, &volume) == 0 {
      let free = UInt(volume.f_bavail).multipliedReportingOverflow(by: UInt(volume.f_frsize))
      guard free.overflow || free.partialValue >= UInt(position) else { throw full(ENOSPC) }
    }
    guard ftruncate(descriptor, off_t(position)) == 0 else { throw full(errno) }
  }

  deinit {
    if descriptor >= 0 { close(descriptor) }
    if descriptor >= 0, !state.withLock({ $0.renamed }) { unlink(temporaryPath) }
  }

  /// A tensor being written; used by one thread.
  package struct Tensor {
    private let writer: PetarFileWriter
    private let index: Int
    private var written = 0
    private var hash = SHA256()

    fileprivate init(_ writer: PetarFileWriter, _ index: Int) {
      self.writer = writer
      self.index = index
    }

    /// The next bytes, in the order of the file.
    package mutating func append(_ bytes: UnsafeRawBufferPointer) throws {
      let entry = writer.entries[index]
      guard bytes.count <= entry.byteCount - written else {
        throw PetarError(PETAR_ERROR_INTERNAL, "tensor \(entry.name) got more bytes than its shape has")
      }
      try writer.write(bytes, at: entry.offset + written)
      hash.update(bytes)
      written += bytes.count
    }

    package consuming func finish() throws {
      let entry = writer.entries[index]
      guard written == entry.byteCount else {
        throw PetarError(
          PETAR_ERROR_INTERNAL, "tensor \(entry.name) got \(written) bytes, its shape has \(entry.byteCount)")
      }
      let checksum = hash.finish()
      writer.state.withLock { $0.checksums[index] = checksum }
    }
  }

  /// The tensor at this place of the list given to `init`.
  package func tensor(_ index: Int) -> Tensor { Tensor(self, index) }

  /// Writes directory, metadata and tokenizer, then the header, and gives the file its name.
  /// - Parameter beforeRename: the last chance to stop, by throwing.
  package func finish(
    description: ModelDescription, tokenizer: TokenizerDefinition, beforeRename: () throws -> Void = {}
  ) throws {
    let checksums = state.withLock { $0.checksums }
    let complete = try entries.enumerated().map { index, planned in
      guard let checksum = checksums[index] else {
        throw PetarError(PETAR_ERROR_INTERNAL, "tensor \(planned.name) was never written")
      }
      var entry = planned
      entry.sha256 = checksum
      return entry
    }
    var metadata = ByteWriter()
    description.write(to: &metadata)
    var tokenizerContent = ByteWriter()
    tokenizer.write(to: &tokenizerContent)
    let tail = try PetarFileTail(
      entries: complete, metadata: metadata.bytes, tokenizer: tokenizerContent.bytes, start: tensorsEnd)
    try tail.bytes.withUnsafeBytes { try write($0, at: tensorsEnd) }
    try tail.header.withUnsafeBytes { try write($0, at: 0) }
    guard fsync(descriptor) == 0 else { throw full(errno) }
    try beforeRename()
    guard rename(temporaryPath, path) == 0 else { throw Self.failure("name", path, errno) }
    state.withLock { $0.renamed = true }
    syncFolder()
  }

  private func write(_ bytes: UnsafeRawBufferPointer, at offset: Int) throws {
    let reason = writeAll(bytes, to: descriptor, at: offset)
    guard reason == 0 else { throw full(reason) }
  }

  /// Makes the new name itself survive a power cut. The file is complete either way, so failing here is no failure.
  private func syncFolder() {
    let folder = path.contains("/") ? String(path[..<(path.lastIndex(of: "/") ?? path.startIndex)]) : "."
    let handle = open(folder.isEmpty ? "/" : folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC)
    guard handle >= 0 else { return }
    fsync(handle)
    close(handle)
  }

  private func full(_ reason: Int32) -> PetarError {
    let error = Self.failure("write", path, reason)
    guard reason == ENOSPC || reason == EDQUOT || reason == EFBIG else { return error }
    return PetarError(PETAR_ERROR_IO, "\(error.message); \(tensorsEnd >> 20) MiB are needed there")
  }

  private static func failure(_ verb: String, _ path: String, _ reason: Int32) -> PetarError {
    PetarError(PETAR_ERROR_IO, "cannot \(verb) \(path): \(String(cString: strerror(reason)))")
  }
}

/// What follows the tensors, and the header that points to it.
package struct PetarFileTail {
  package let header: [UInt8]
  package let bytes: [UInt8]

  /// - Parameters:
  ///   - metadata: content, not compressed yet; `tokenizer` too.
  ///   - start: where the last tensor ends.
  package init(entries: [PetarFileEntry], metadata: [UInt8], tokenizer: [UInt8], start: Int) throws {
    var directory = ByteWriter()
    PetarFileDirectory.write(entries, to: &directory)
    var header = PetarFileHeader()
    var tail: [UInt8] = []
    func section(_ stored: [UInt8], contentBytes: Int) -> PetarFileSection {
      var section = PetarFileSection()
      section.offset = start + tail.count
      section.storedBytes = stored.count
      section.contentBytes = contentBytes
      section.sha256 = SHA256.digest(stored)
      tail += stored
      return section
    }
    header.tensorCount = entries.count
    header.directory = section(directory.bytes, contentBytes: directory.bytes.count)
    header.metadata = section(try Self.compressed(metadata), contentBytes: metadata.count)
    header.tokenizer = section(try Self.compressed(tokenizer), contentBytes: tokenizer.count)
    header.fileBytes = start + tail.count
    var out = ByteWriter()
    header.write(to: &out)
    self.header = out.bytes
    bytes = tail
  }

  private static func compressed(_ content: [UInt8]) throws -> [UInt8] {
    guard content.count <= PetarFileSection.contentLimit else {
      throw PetarError(
        PETAR_ERROR_UNSUPPORTED,
        "a section of \(content.count) bytes is larger than the \(PetarFileSection.contentLimit) a .petar file may hold"
      )
    }
    var out = [UInt8](repeating: 0, count: ZSTD_compressBound(content.count))
    let count = ZSTD_compress(&out, out.count, content, content.count, 19)
    guard ZSTD_isError(count) == 0 else {
      throw PetarError(PETAR_ERROR_INTERNAL, "zstd: \(String(cString: ZSTD_getErrorName(count)))")
    }
    // The bound the reader sets: what no real description or tokenizer reaches.
    guard content.count <= count * 256 + 4096 else {
      throw PetarError(PETAR_ERROR_UNSUPPORTED, "a section of \(content.count) bytes is almost nothing but repetition")
    }
    return Array(out.prefix(count))
  }
}
