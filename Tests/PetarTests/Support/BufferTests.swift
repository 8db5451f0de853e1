import CPetar
import Petar
import Testing

@Suite("Buffers") struct BufferTests {
  /// More than the address space, and more than Int holds.
  @Test(arguments: [1 << 48, .max]) func whatNoSystemHasIsAnError(_ count: Int) {
    expectFailure(PETAR_ERROR_OUT_OF_MEMORY, "free memory or use a smaller exam or model") {
      _ = try Buffer<Float>(count: count)
    }
  }

  /// In memory of the allocator, of the system, and in huge pages.
  @Test(arguments: [0, 1, 1 << 18, 1 << 21]) func memoryIsZeroAndAligned(_ count: Int) throws {
    let buffer = try Buffer<Float>(count: count)
    #expect(buffer.elements.allSatisfy { $0 == 0 })
    #expect(UInt(bitPattern: buffer.base) % 64 == 0)
  }
}
