/// Hostile bytes as a .petar file, up to the resolved weights and tokenizer.
@c(LLVMFuzzerTestOneInput)
public func fuzzPetarFile(_ data: UnsafePointer<UInt8>, _ count: Int) -> Int32 {
  let bytes = UnsafeRawBufferPointer(start: data, count: count)
  guard let file = try? PetarFile(bytes: bytes, source: "fuzz", verify: count & 1 == 0) else { return 0 }
  _ = try? Tokenizer(file.tokenizer)
  _ = try? VisionWeights(file)
  _ = try? DecoderWeights(file)
  return 0
}
