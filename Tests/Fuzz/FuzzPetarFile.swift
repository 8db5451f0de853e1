/// Hostile bytes as a .petar file, up to the resolved weights and tokenizer.
@c(LLVMFuzzerTestOneInput)
public func fuzzPetarFile(_ data: UnsafePointer<UInt8>, _ count: Int) -> Int32 {
  let bytes = UnsafeRawBufferPointer(start: data, count: count)
  guard let file = try? PetarFile(bytes: bytes, source: "fuzz") else { return 0 }
  _ = try? file.verify()
  _ = try? Tokenizer(file.tokenizer, vocabulary: file.description.decoder.vocabulary)
  _ = try? VisionWeights(file)
  _ = try? DecoderWeights(file)
  return 0
}
