import CPetar
import Petar
import Testing

/// What every function of petar.h does with the structs and buffers it is given, seen through the header alone.
@Suite("ABI boundary") struct BoundaryTests {
  @Test func paramsAreFilledOnlyAsFarAsTheCallersHeaderKnowsThem() {
    var storage = [UInt8](repeating: 0xAA, count: MemoryLayout<petar_describe_params>.stride)
    storage.withUnsafeMutableBytes { bytes in
      let params = bytes.baseAddress?.assumingMemoryBound(to: petar_describe_params.self)
      petar_describe_params_init(params, 24)
    }
    #expect(storage[..<8].elementsEqual([24, 0, 0, 0, 0, 0, 0, 0]))
    #expect(storage[24...].allSatisfy { $0 == 0xAA })
    petar_describe_params_init(nil, 24)
  }

  @Test func namesOfStatusesAreTheirOwn() {
    #expect(String(cString: petar_status_name(PETAR_ERROR_MASK_OUTSIDE)) == "PETAR_ERROR_MASK_OUTSIDE")
    #expect(String(cString: petar_status_name(petar_status(rawValue: 77))) == "unknown status")
  }

  @Test func sizesAreAskedForFirst() {
    var size = 0
    #expect(petar_build_info(nil, &size) == PETAR_OK)
    var buffer = [CChar](repeating: 1, count: size)
    var short = size - 1
    #expect(petar_build_info(&buffer, &short) == PETAR_ERROR_BUFFER_TOO_SMALL)
    #expect(short == size && buffer.allSatisfy { $0 == 1 })
    #expect(petar_build_info(&buffer, &size) == PETAR_OK)
    let json = String(decoding: buffer.dropLast().map { UInt8(bitPattern: $0) }, as: UTF8.self)
    #expect(json.contains("\"version\": \"\(String(cString: petar_version()))\""))
    #expect(petar_build_info(&buffer, nil) == PETAR_ERROR_INVALID_ARGUMENT)
  }

  @Test func messagesAreCutAtACharacter() {
    let path = "/" + String(repeating: "é", count: 2000)
    var model: OpaquePointer?
    #expect(petar_model_open(path, nil, &model) == PETAR_ERROR_IO)
    // A character of two bytes is whole or missing.
    let message = String(validatingCString: petar_last_message())
    #expect([1022, 1023].contains(message?.utf8.count))
  }
}
