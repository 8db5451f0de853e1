import Petar
import PetarTraining
import Testing

@Suite("Training: OpenBLAS") struct OpenBLASTests {
  /// By itself 0.3.21 takes SSE3 on processors that are newer than it is.
  @Test("Its kernels are those for what the processor can do") func kernels() {
    let sets = InstructionSet.available.map(\.name)
    if sets.contains("avx512vnni") {
      #expect(OpenBLAS.core == "SkylakeX")
    } else if sets.contains("avx2") {
      #expect(OpenBLAS.core == "Haswell")
    }
  }
}
