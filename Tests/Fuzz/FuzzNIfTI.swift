/// Hostile bytes as a NIfTI file: a status, never a crash, a hang or an allocation the bytes do not justify.
@c(LLVMFuzzerTestOneInput)
public func fuzzNIfTI(_ data: UnsafePointer<UInt8>, _ count: Int) -> Int32 {
  let bytes = UnsafeRawBufferPointer(start: data, count: count)
  guard let image = try? NIfTI.parse(bytes, source: "fuzz") else { return 0 }
  _ = try? Volume(image, unit: .suv, source: "fuzz")
  return 0
}
