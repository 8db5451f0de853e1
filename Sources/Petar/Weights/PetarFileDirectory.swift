import CPetar

/// One tensor of a .petar file: what it is and where it lies.
package struct PetarFileEntry: Sendable, Equatable {
  package enum Form: Sendable, Equatable {
    /// A packed matrix (`Matrix.swift`).
    case matrix(MatrixLayout)
    /// So many f32 values.
    case vector(count: Int)
  }

  package var name: String
  package var form: Form
  package var offset = 0
  package var sha256 = [UInt8](repeating: 0, count: 32)

  package init(name: String, form: Form) {
    self.name = name
    self.form = form
  }

  /// Bytes in the file.
  package var byteCount: Int {
    switch form {
    case .matrix(let layout): layout.byteCount
    case .vector(let count): count * 4
    }
  }

  package var parameterCount: Int {
    switch form {
    case .matrix(let layout): layout.rows * layout.columns
    case .vector(let count): count
    }
  }
}

/// The list of the tensors in the order in which they lie in the file.
package enum PetarFileDirectory {
  /// Tensors start on a page, so that a kernel may read them in place and pages can be dropped one tensor at a time.
  package static let alignment = 4096
  /// A directory entry takes at least this many bytes: an empty name and the fixed fields.
  package static let smallestEntry = 84

  /// `position` rounded up to a page, or nil on overflow.
  package static func aligned(_ position: Int) -> Int? {
    let (sum, overflow) = position.addingReportingOverflow(alignment - 1)
    return overflow ? nil : sum / alignment * alignment
  }

  package static func write(_ entries: [PetarFileEntry], to out: inout ByteWriter) {
    for entry in entries {
      out.string(entry.name)
      switch entry.form {
      case .matrix(let layout):
        out.integer(UInt32(1))
        out.integer(layout.encoding.rawValue)
        out.integer(UInt64(clamping: layout.rows))
        out.integer(UInt64(clamping: layout.columns))
        out.integer(UInt32(clamping: layout.groupSize))
        out.integer(UInt32(clamping: layout.rotation))
      case .vector(let count):
        out.integer(UInt32(2))
        out.integer(Encoding.f32.rawValue)
        out.integer(UInt64(clamping: count))
        out.integer(UInt64(1))
        out.integer(UInt32(0))
        out.integer(UInt32(1))
      }
      out.integer(UInt64(clamping: entry.offset))
      out.integer(UInt64(clamping: entry.byteCount))
      out.raw(entry.sha256)
    }
  }

  /// Reads `count` entries and checks every rule of the format. The tensors lie between the header and `end`.
  /// - Returns: the entries and where the last one ends.
  package static func read(_ count: Int, from reader: inout ByteReader, end: Int) throws -> (
    entries: [PetarFileEntry], end: Int
  ) {
    guard count <= reader.bytes.count / smallestEntry else {
      throw reader.fail("\(count) tensors do not fit a directory of \(reader.bytes.count) bytes")
    }
    var entries: [PetarFileEntry] = []
    entries.reserveCapacity(count)
    var names: Set<String> = []
    var position = PetarFileHeader.byteCount
    for _ in 0..<count {
      let name = try reader.string("tensor name", limit: 256)
      guard !name.isEmpty else { throw reader.fail("tensor \(entries.count) has no name") }
      guard names.insert(name).inserted else { throw reader.fail("tensor \(name) is there twice") }
      func fail(_ what: String) -> PetarError { reader.fail("tensor \(name) \(what)") }

      var entry = PetarFileEntry(name: name, form: try form(of: name, from: &reader))
      entry.offset = Int(clamping: try reader.integer(UInt64.self))
      let byteCount: UInt64 = try reader.integer()
      entry.sha256 = Array(try reader.take(32))

      guard byteCount == UInt64(clamping: entry.byteCount) else {
        throw fail("takes \(byteCount) bytes, its shape needs \(entry.byteCount)")
      }
      guard entry.offset % alignment == 0 else { throw fail("starts at \(entry.offset), not on a page") }
      guard let start = aligned(position) else { throw fail("lies beyond the end of the file") }
      guard entry.offset >= start else {
        throw fail("starts at \(entry.offset) and overlaps what comes before it, which ends at \(position)")
      }
      guard entry.offset == start else {
        throw fail("starts at \(entry.offset) and leaves a hole after what comes before it, which ends at \(position)")
      }
      guard entry.byteCount <= end, start <= end - entry.byteCount else {
        throw fail("takes \(entry.byteCount) bytes at \(start), beyond the end of the tensors at \(end)")
      }
      position = start + entry.byteCount
      entries.append(entry)
    }
    guard reader.remaining == 0 else {
      throw reader.fail("\(reader.remaining) bytes follow the last tensor of the directory")
    }
    return (entries, position)
  }

  private static func form(of name: String, from reader: inout ByteReader) throws -> PetarFileEntry.Form {
    let kind: UInt32 = try reader.integer()
    let code: UInt32 = try reader.integer()
    let rows = Int(clamping: try reader.integer(UInt64.self))
    let columns = Int(clamping: try reader.integer(UInt64.self))
    let groupSize = Int(try reader.integer(UInt32.self))
    let rotation = Int(try reader.integer(UInt32.self))
    switch kind {
    case 1:
      guard let encoding = Encoding(rawValue: code) else {
        throw reader.fail("tensor \(name) has encoding \(code), which this library does not know")
      }
      do {
        return .matrix(
          try MatrixLayout(encoding, rows: rows, columns: columns, groupSize: groupSize, rotation: rotation))
      } catch let error as PetarError {
        throw reader.fail("tensor \(name): \(error.message)")
      }
    case 2:
      guard code == Encoding.f32.rawValue, columns == 1, groupSize == 0, rotation == 1 else {
        throw reader.fail("tensor \(name) is a vector but not one column of f32")
      }
      guard rows > 0, rows <= 1 << 32 else { throw reader.fail("tensor \(name) is a vector of \(rows) values") }
      return .vector(count: rows)
    default:
      throw reader.fail("tensor \(name) is of kind \(kind), which this library does not know")
    }
  }
}
