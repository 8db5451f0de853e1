/// Hostile bytes as a NIfTI file: a status, never a crash, a hang or an allocation the bytes do not justify.
@c(LLVMFuzzerTestOneInput)
public func fuzzNIfTI(_ data: UnsafePointer<UInt8>, _ count: Int) -> Int32 {
  let bytes = UnsafeRawBufferPointer(start: data, count: count)
  _ = try? Volume.parse(nifti: bytes, source: "fuzz", unit: .suv, suvFactor: 0)
  return 0
}
