/// Hostile bytes as a .petar file, up to the resolved weights and tokenizer.
///
/// The checksums of the header and of its sections are made right first, so that what lies behind them is reached; one
/// wrong checksum would end almost every try there. The seeds hold their sections as zstd blocks that are not
/// compressed, so that a changed byte is a changed byte of the content.
@c(LLVMFuzzerTestOneInput)
public func fuzzPetarFile(_ data: UnsafePointer<UInt8>, _ count: Int) -> Int32 {
  var bytes = Array(UnsafeBufferPointer(start: data, count: count))
  reseal(&bytes)
  guard let file = try? bytes.withUnsafeBytes({ try PetarFile(bytes: $0, source: "fuzz") }) else { return 0 }
  _ = try? file.verify()
  _ = file.metadata.text
  _ = try? VisionWeights(file)
  _ = try? DecoderWeights(file)
  let vocabulary = file.description.decoder.vocabulary
  _ = try? file.tokenizerBytes.withUnsafeBytes { bytes in
    var reader = ByteReader(bytes, source: "fuzz")
    return try Tokenizer(TokenizerDefinition(from: &reader), vocabulary: vocabulary)
  }
  return 0
}

/// Writes the checksums that fit the sections, where these lie inside the file, and the one that fits the header.
private func reseal(_ bytes: inout [UInt8]) {
  guard bytes.count >= PetarFileHeader.byteCount else { return }
  func number(at offset: Int) -> Int {
    Int(truncatingIfNeeded: (0..<8).reduce(UInt64(0)) { $0 | UInt64(bytes[offset + $1]) << UInt64(8 * $1) })
  }
  for field in [24, 80, 136] {
    let (offset, count) = (number(at: field), number(at: field + 8))
    guard offset >= 0, count >= 0, offset <= bytes.count, count <= bytes.count - offset else { continue }
    bytes.replaceSubrange(field + 24..<field + 56, with: SHA256.digest(Array(bytes[offset..<offset + count])))
  }
  bytes.replaceSubrange(192..<224, with: SHA256.digest(Array(bytes[..<192])))
}
