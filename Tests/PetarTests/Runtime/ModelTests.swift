import CPetar
import Petar
import PetarConversion
import Testing

@Suite("Model") struct ModelTests {
  /// 198 is a byte that is no character by itself, 1007 has no text.
  @Test("An image token that its text does not become is refused", arguments: [198, 1007])
  func imageToken(_ token: Int32) throws {
    try withTemporaryFolder { folder in
      try writeTinyModel(.f32, to: "\(folder)/tiny.petar") { $0.prompt.imageToken = token }
      let error = #expect(throws: PetarError.self) { try Model(path: "\(folder)/tiny.petar") }
      #expect(error?.status == PETAR_ERROR_BAD_FILE && error?.message.contains("image token \(token)") == true)
    }
  }

  @Test func longQuestionsAreRefusedBeforeTheyAreTokens() throws {
    let model = try tinyModel(.f32)
    let question = String(repeating: "a", count: 1 << 22 + 1)
    let error = #expect(throws: PetarError.self) { try model.prompt(question: question) }
    #expect(error?.status == PETAR_ERROR_CONTEXT_FULL && error?.message.contains("4194304 bytes") == true)
  }
}
