/// The first bytes are a tokenizer section as a .petar file holds it; what follows it is text to encode, and ids to
/// decode in a stream that must say the same as decoding at once.
@c(LLVMFuzzerTestOneInput)
public func fuzzTokenizer(_ data: UnsafePointer<UInt8>, _ count: Int) -> Int32 {
  let bytes = UnsafeRawBufferPointer(start: data, count: count)
  var reader = ByteReader(bytes, source: "fuzz")
  guard let definition = try? TokenizerDefinition(from: &reader), let tokenizer = try? Tokenizer(definition) else {
    return 0
  }
  let rest = UnsafeRawBufferPointer(rebasing: bytes[reader.offset...])
  _ = tokenizer.encode(String(decoding: rest, as: UTF8.self), addBOS: true)
  let ids = rest.map { Int32($0) }.filter { $0 < tokenizer.count }
  var stream = StreamDecoder(tokenizer)
  var streamed = ""
  for id in ids { streamed += stream.push(id) }
  streamed += stream.finish()
  guard let whole = try? tokenizer.decode(ids, keepSpecial: false), whole == streamed else {
    fatalError("streamed text differs from decoded text")
  }
  return 0
}
