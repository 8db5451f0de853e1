import CPetar
import Foundation
import Petar
import PetarConversion
import Testing

@Suite("The .petar file") struct PetarFileTests {
  @Test func whatIsWrittenIsRead() throws {
    try withTemporaryFolder { folder in
      let path = "\(folder)/small.petar"
      try SmallPetarFile.write(to: path)
      let file = try PetarFile.open(path: path, verify: true)
      #expect(file.description == SmallPetarFile.description)
      let tokenizer = try file.tokenizerBytes.withUnsafeBytes { bytes in
        var reader = ByteReader(bytes, source: "tokenizer")
        return try TokenizerDefinition(from: &reader)
      }
      #expect(tokenizer == SmallPetarFile.tokenizer)
      #expect(file.entries.map(\.name) == ["first", "second", "third"])
      #expect(file.entries.map(\.offset) == [4096, 8192, 12288])
      #expect(file.weightsType == "f32+q8")
      #expect(file.parameterCount == 3 * 5 + 7 + 20 * 9)
      #expect(file.byteCount == (try FileManager.default.attributesOfItem(atPath: path)[.size] as? Int))

      let first = try file.matrix("first", rows: 3, columns: 5)
      var row = [Float](repeating: 0, count: 5)
      try first.unpackRow(2, into: &row)
      #expect(row == Array(SmallPetarFile.values(15, seed: 0)[10...]))
      #expect(Array(try file.vector("second", count: 7).elements) == SmallPetarFile.values(7, seed: 1))
      // q8: half a step of the row's largest value, 50 / 64 / 127 / 2, is the most a value may move.
      let third = try file.matrix("third", rows: 20, columns: 9)
      var last = [Float](repeating: 0, count: 9)
      try third.unpackRow(19, into: &last)
      for (packed, value) in zip(last, SmallPetarFile.values(180, seed: 2)[171...]) {
        #expect(abs(packed - value) <= 0.0031)
      }
    }
  }

  @Test func tensorsOutliveTheFile() throws {
    let bytes = try SmallPetarFile.bytes()
    let vector = try { try SmallPetarFile.open(bytes).vector("second", count: 7) }()
    #expect(Array(vector.elements) == SmallPetarFile.values(7, seed: 1))
  }

  @Test func theHashIsOfTheContentAndNotOfTheName() throws {
    try withTemporaryFolder { folder in
      try SmallPetarFile.write(to: "\(folder)/a.petar")
      try SmallPetarFile.write(to: "\(folder)/b.petar")
      let hash = try PetarFile.open(path: "\(folder)/a.petar", verify: false).hash
      #expect(hash.count == 64)
      #expect(try PetarFile.open(path: "\(folder)/b.petar", verify: false).hash == hash)
      #expect(try SmallPetarFile.open(SmallPetarFile.bytes()).hash == hash)
    }
  }

  @Test func anotherShapeIsRefusedByName() throws {
    let file = try SmallPetarFile.open(SmallPetarFile.bytes())
    expectFailure(PETAR_ERROR_BAD_FILE, "tensor first is a matrix of 3 x 5, a matrix of 5 x 3 is wanted") {
      _ = try file.matrix("first", rows: 5, columns: 3)
    }
    expectFailure(PETAR_ERROR_BAD_FILE, "tensor second is a vector of 7, a matrix of 7 x 1 is wanted") {
      _ = try file.matrix("second", rows: 7, columns: 1)
    }
    expectFailure(PETAR_ERROR_BAD_FILE, "tensor first is a matrix of 3 x 5, a vector of 15 is wanted") {
      _ = try file.vector("first", count: 15)
    }
    expectFailure(PETAR_ERROR_BAD_FILE, "tensor fourth is missing, a vector of 1 is wanted") {
      _ = try file.vector("fourth", count: 1)
    }
  }

  @Test func metadataAsJSON() throws {
    let file = try SmallPetarFile.open(SmallPetarFile.bytes())
    let json = try #require(
      try JSONSerialization.jsonObject(with: Data(file.metadata.text.utf8)) as? [String: Any])
    #expect(json["name"] as? String == "small")
    #expect(json["hash"] as? String == file.hash)
    #expect(json["weights"] as? String == "f32+q8")
    #expect(json["parameters"] as? Int == 202)
    let decoder = try #require(json["decoder"] as? [String: Any])
    #expect(decoder["key_value_heads"] as? Int == 1)
    #expect(decoder["norm_epsilon"] as? Double == 1e-5)
    let prompt = try #require(json["prompt"] as? [String: Any])
    #expect(prompt["end_of_text"] as? [Int] == [2])
    let tensor = try JSONSerialization.jsonObject(with: Data(file.entries[2].json.text.utf8)) as? [String: Any]
    #expect(tensor?["shape"] as? [Int] == [20, 9])
    #expect(tensor?["group_size"] as? Int == 4)
  }

  @Test func filesThatCannotBeOpened() throws {
    try withTemporaryFolder { folder in
      expectFailure(PETAR_ERROR_IO, "No such file") { _ = try PetarFile.open(path: "\(folder)/none", verify: false) }
      expectFailure(PETAR_ERROR_IO, "not a regular file") { _ = try PetarFile.open(path: folder, verify: false) }
      try #require(mkfifo("\(folder)/pipe", 0o600) == 0)
      expectFailure(PETAR_ERROR_IO, "not a regular file") {
        _ = try PetarFile.open(path: "\(folder)/pipe", verify: false)
      }
      try Data().write(to: URL(fileURLWithPath: "\(folder)/empty"))
      expectFailure(PETAR_ERROR_BAD_FILE, "empty") { _ = try PetarFile.open(path: "\(folder)/empty", verify: false) }
    }
  }

  @Test func anUnfinishedFileIsNeverSeen() throws {
    try withTemporaryFolder { folder in
      let path = "\(folder)/model.petar"
      try Data("what was there".utf8).write(to: URL(fileURLWithPath: path))
      do {
        let writer = try PetarFileWriter(path: path, tensors: SmallPetarFile.entries())
        expectFailure(PETAR_ERROR_INTERNAL, "first was never written") {
          try writer.finish(description: SmallPetarFile.description, tokenizer: SmallPetarFile.tokenizer)
        }
      }
      #expect(try FileManager.default.contentsOfDirectory(atPath: folder) == ["model.petar"])
      #expect(try String(contentsOfFile: path, encoding: .utf8) == "what was there")
    }
  }

  @Test func anOutputThatCannotBeWrittenIsRefusedBeforeTheWork() throws {
    try withTemporaryFolder { folder in
      expectFailure(PETAR_ERROR_IO, "No such file or directory") {
        _ = try PetarFileWriter(path: "\(folder)/none/model.petar", tensors: SmallPetarFile.entries())
      }
      expectFailure(PETAR_ERROR_IO, "Is a directory") {
        _ = try PetarFileWriter(path: folder, tensors: SmallPetarFile.entries())
      }
      // Five exabytes do not fit any disk.
      let huge = PetarFileEntry(
        name: "huge", form: .matrix(try MatrixLayout(.f32, rows: 1 << 26, columns: 1 << 26)))
      expectFailure(PETAR_ERROR_IO, "MiB are needed") {
        _ = try PetarFileWriter(path: "\(folder)/model.petar", tensors: [huge])
      }
      #expect(try FileManager.default.contentsOfDirectory(atPath: folder).isEmpty)
    }
  }
}

/// The body fails with this status and a message that holds these words.
func expectFailure(
  _ status: petar_status, _ words: String, sourceLocation: SourceLocation = #_sourceLocation, _ body: () throws -> Void
) {
  do {
    try body()
    Issue.record("it did not fail; \"\(words)\" was expected", sourceLocation: sourceLocation)
  } catch let error as PetarError {
    #expect(error.status == status, "\(error.message)", sourceLocation: sourceLocation)
    #expect(error.message.contains(words), "\(error.message)", sourceLocation: sourceLocation)
  } catch {
    Issue.record("another error: \(error)", sourceLocation: sourceLocation)
  }
}
