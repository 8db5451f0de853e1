import CPetar
import Petar
import PetarConversion
import Testing

@Suite("Damaged .petar files") struct PetarFileDamageTests {
  let good: [UInt8]

  init() throws { good = try SmallPetarFile.bytes() }

  // ---- Any damage -------------------------------------------------------------------------------------------------

  @Test func truncatedAnywhere() {
    for count in 0..<good.count {
      #expect(throws: PetarError.self) { try SmallPetarFile.open(Array(good.prefix(count))) }
    }
  }

  @Test func somethingAppended() {
    expectFailure(PETAR_ERROR_BAD_FILE, "something was appended") { try SmallPetarFile.open(good + [0]) }
  }

  @Test func anyByteFlippedIsFoundByVerify() throws {
    try SmallPetarFile.open(good, verify: true)
    for index in good.indices {
      var bytes = good
      bytes[index] ^= [0x01, 0x80, 0xff][index % 3]
      #expect(throws: PetarError.self, "byte \(index)") { try SmallPetarFile.open(bytes, verify: true) }
    }
  }

  /// With checksums made right again the checks behind them have to hold: an error or a file, never a trap.
  @Test func anyByteFlippedBehindTheChecksums() {
    let tail = number(good, at: SectionField.directory)
    var refused = 0
    for index in Array(0..<192) + Array(tail..<good.count) {
      for mask: UInt8 in [0x01, 0x10, 0x80, 0xff] {
        var bytes = good
        bytes[index] ^= mask
        reseal(&bytes)
        do { try SmallPetarFile.open(bytes, verify: true) } catch { refused += 1 }
      }
    }
    #expect(refused > 0)
  }

  // ---- Header -----------------------------------------------------------------------------------------------------

  @Test func signatureVersionAndHeaderChecksum() {
    damaged(PETAR_ERROR_BAD_FILE, "not a .petar file") { $0[1] = 0x51 }
    damaged(PETAR_ERROR_FILE_VERSION, "format version 7, this library reads version 1") { $0[8] = 7 }
    damaged(PETAR_ERROR_CHECKSUM, "header does not match", resealed: false) { $0[12] = 4 }
    damaged(PETAR_ERROR_BAD_FILE, "its header says 1") { put(1, into: &$0, at: 16) }
    damaged(PETAR_ERROR_BAD_FILE, "truncated") { put(.max, into: &$0, at: 16) }
  }

  @Test func sections() {
    for (field, name) in [(SectionField.metadata, "metadata"), (SectionField.tokenizer, "tokenizer")] {
      damaged(PETAR_ERROR_BAD_FILE, "the \(name) starts at 0") { put(0, into: &$0, at: field) }
      damaged(PETAR_ERROR_BAD_FILE, "the \(name) starts at \(Int.max)") { put(.max, into: &$0, at: field) }
      damaged(PETAR_ERROR_BAD_FILE, "more than the file's") { put(.max, into: &$0, at: field + 8) }
      damaged(PETAR_ERROR_BAD_FILE, "more than the 67108864 allowed") { put(1 << 40, into: &$0, at: field + 16) }
      damaged(PETAR_ERROR_BAD_FILE, "which no real one needs") { put(1 << 26, into: &$0, at: field + 16) }
      damaged(PETAR_ERROR_BAD_FILE, "its zstd frame says otherwise") { put(5, into: &$0, at: field + 16) }
      damaged(PETAR_ERROR_BAD_FILE, "not exactly one zstd frame") { $0[number($0, at: field)] ^= 0xff }
      damaged(PETAR_ERROR_CHECKSUM, "the \(name) does not match its checksum", resealed: false) { bytes in
        bytes[number(bytes, at: field) + 10] ^= 1
      }
    }
    damaged(PETAR_ERROR_BAD_FILE, "gives two sizes") { put(1, into: &$0, at: SectionField.directory + 16) }
    damaged(PETAR_ERROR_BAD_FILE, "the directory takes") { bytes in
      put(1 << 50, into: &bytes, at: SectionField.directory + 8)
      put(1 << 50, into: &bytes, at: SectionField.directory + 16)
    }
  }

  @Test func aBombIsRefusedBeforeMemoryIsTaken() throws {
    // One zstd frame of 512 run-length blocks: 64 MiB of zeros in two kilobytes, and its size honestly told.
    var frame: [UInt8] = [0x28, 0xb5, 0x2f, 0xfd, 0xe0]
    frame += withUnsafeBytes(of: UInt64(64 << 20).littleEndian, Array.init)
    for block in 0..<512 {
      let header = (131_072 << 3) | (1 << 1) | (block == 511 ? 1 : 0)
      frame += [UInt8(header & 255), UInt8(header >> 8 & 255), UInt8(header >> 16), 0]
    }
    var bytes = good
    let start = number(bytes, at: SectionField.tokenizer)
    bytes.replaceSubrange(start..., with: frame)
    put(UInt64(frame.count), into: &bytes, at: SectionField.tokenizer + 8)
    put(64 << 20, into: &bytes, at: SectionField.tokenizer + 16)
    put(UInt64(bytes.count), into: &bytes, at: 16)
    reseal(&bytes)
    expectFailure(PETAR_ERROR_BAD_FILE, "which no real one needs") { try SmallPetarFile.open(bytes) }
  }

  // ---- Directory --------------------------------------------------------------------------------------------------

  @Test func directory() {
    // Fields of the second entry, "second": the first takes 4 + 5 + 80 bytes.
    let entry = number(good, at: SectionField.directory) + 89
    let form = entry + 4 + 6
    func second(_ words: String, _ change: (inout [UInt8]) -> Void) {
      damaged(PETAR_ERROR_BAD_FILE, words, change)
    }
    second("4294967295 tensors do not fit") { put(0xffff_ffff, into: &$0, at: 12, bytes: 4) }
    second("4 tensors do not fit a directory of 268 bytes") { $0[12] = 4 }
    second("ends too early") { $0[entry] = 200 }
    second("follow the last tensor") { $0[12] = 2 }
    second("tensor name has 4294967295 bytes") { put(0xffff_ffff, into: &$0, at: entry, bytes: 4) }
    second("not UTF-8") { $0[entry + 4] = 0xff }
    second("tensor first is there twice") { bytes in
      // "first" again, by a name one byte shorter in an entry one byte longer: its last byte becomes the kind.
      bytes.replaceSubrange(entry..<entry + 10, with: [5, 0, 0, 0] + Array("first".utf8))
      moveSections(&bytes, by: -1)
    }
    second("of kind 9, which this library does not know; convert the checkpoint again") { $0[form] = 9 }
    second("tensor second is a vector but not one column of f32") { $0[form + 4] = 3 }
    second("tensor second is a vector of 0 values") { $0[form + 8] = 0 }
    second("tensor second is a vector but not one column of f32") { $0[form + 28] = 16 }
    second("takes 28 bytes, its shape needs 32") { $0[form + 8] = 8 }
    second("tensor second starts at 8193, not on a page") { $0[form + 32] = 1 }
    second("tensor second starts at 4096 and overlaps") { put(4096, into: &$0, at: form + 32) }
    second("tensor second starts at 12288 and leaves a hole") { put(12288, into: &$0, at: form + 32) }
    second("leaves a hole") { put(1 << 63 - 4096, into: &$0, at: form + 32) }
    second("tensor second takes 18446744073709551615 bytes") { put(.max, into: &$0, at: form + 40) }
    let first = form - 89 - 1
    second("tensor first has encoding 77") { $0[first + 4] = 77 }
    second("tensor first: a matrix of 0 x 5") { $0[first + 8] = 0 }
    second("rotated by 32, cannot be stored") { $0[first + 28] = 32 }
    second("cannot be stored") { put(.max, into: &$0, at: first + 8) }
    second("beyond the end of the tensors") { bytes in
      // 2^20 x 5: a size that fits its shape and no file of this length.
      put(1 << 20, into: &bytes, at: first + 8)
      put(5 << 22, into: &bytes, at: first + 40)
    }
    second("the directory starts at") { bytes in
      bytes.insert(0, at: number(bytes, at: SectionField.directory))
      put(UInt64(number(bytes, at: SectionField.directory) + 1), into: &bytes, at: SectionField.directory)
      put(UInt64(number(bytes, at: SectionField.metadata) + 1), into: &bytes, at: SectionField.metadata)
      put(UInt64(number(bytes, at: SectionField.tokenizer) + 1), into: &bytes, at: SectionField.tokenizer)
      put(UInt64(bytes.count), into: &bytes, at: 16)
    }
  }

  // ---- Tensors ----------------------------------------------------------------------------------------------------

  @Test func tensorsAreCheckedWhenAsked() throws {
    var bytes = good
    bytes[8192] ^= 1
    try SmallPetarFile.open(bytes)
    expectFailure(PETAR_ERROR_CHECKSUM, "tensor second does not match its checksum") {
      try SmallPetarFile.open(bytes, verify: true)
    }
    bytes = good
    bytes[8191] = 1
    try SmallPetarFile.open(bytes)
    expectFailure(PETAR_ERROR_BAD_FILE, "bytes before tensor second are not zero") {
      try SmallPetarFile.open(bytes, verify: true)
    }
  }

  // ---- Help -------------------------------------------------------------------------------------------------------

  private func damaged(
    _ status: petar_status, _ words: String, resealed: Bool = true, sourceLocation: SourceLocation = #_sourceLocation,
    _ change: (inout [UInt8]) -> Void
  ) {
    var bytes = good
    change(&bytes)
    if resealed { reseal(&bytes) }
    expectFailure(status, words, sourceLocation: sourceLocation) { try SmallPetarFile.open(bytes) }
  }

  /// After bytes were taken from or put into the directory.
  private func moveSections(_ bytes: inout [UInt8], by difference: Int) {
    let stored = number(bytes, at: SectionField.directory + 8) + difference
    put(UInt64(stored), into: &bytes, at: SectionField.directory + 8)
    put(UInt64(stored), into: &bytes, at: SectionField.directory + 16)
    for field in [SectionField.metadata, SectionField.tokenizer] {
      put(UInt64(number(bytes, at: field) + difference), into: &bytes, at: field)
    }
    put(UInt64(bytes.count), into: &bytes, at: 16)
  }
}
