import CPetar
import Foundation
import Petar
import PetarConversion
import Testing

@Suite("Calibration") struct CalibrationTests {
  private static let findings = (1...40).map { "Region: Chest. Findings: There is nodule number \($0)." }

  /// A converted checkpoint of a few kilobytes.
  private func converted(
    findings: [String]? = nil, texts: [String]? = nil, weights: Encoding = .q4, threads: Int = 2,
    _ body: (PetarFile, ConversionReport, String) throws -> Void
  ) throws {
    try withTemporaryFolder { folder in
      try TestCheckpoint(.phi3).write(to: "\(folder)/tiny")
      func write(_ lines: [String], _ path: String) throws -> String {
        try Data(lines.joined(separator: "\n").utf8).write(to: URL(fileURLWithPath: path))
        return path
      }
      if let findings { _ = try write(findings, "\(folder)/tiny/typical_findings.txt") }
      let path = try texts.map { try write($0, "\(folder)/texts.txt") }
      let report = try convert(
        checkpoint: "\(folder)/tiny", output: "\(folder)/tiny.petar", weights: weights, calibrate: path,
        threads: threads)
      try body(try PetarFile.open(path: "\(folder)/tiny.petar", verify: true), report, "\(folder)/tiny.petar")
    }
  }

  @Test func typicalFindingsAreTakenUnlessTextsAreGiven() throws {
    try converted(findings: Self.findings) { file, report, _ in
      #expect(report.calibration?.source == "typical_findings.txt" && report.calibration?.texts == 40)
      #expect(file.description.provenance.tool.hasSuffix("texts of typical_findings.txt"))
    }
    try converted(findings: Self.findings, texts: ["One.", "", "Two."]) { file, report, _ in
      #expect(report.calibration?.source == "texts.txt" && report.calibration?.texts == 2)
      #expect(file.description.provenance.tool.hasSuffix(" tokens of 2 texts of texts.txt"))
    }
    try converted { file, report, _ in
      #expect(report.calibration == nil)
      #expect(!file.description.provenance.tool.contains("calibrated"))
    }
  }

  /// Everything but the matrices of the decoder's layers is as without, and these are of the same form.
  @Test func onlyTheDecodersLayersDiffer() throws {
    try converted { plain, _, _ in
      try converted(texts: Self.findings) { file, report, _ in
        #expect(file.entries.map(\.form) == plain.entries.map(\.form))
        let different = zip(file.entries, plain.entries).filter { $0 != $1 }.map(\.0.name)
        let names = [TensorName.qkv, TensorName.attentionOut, TensorName.gateUp, TensorName.down]
        #expect(different == (0..<2).flatMap { layer in names.map { $0(layer) } })
        // The report has both errors of these and of no others.
        let calibrated = report.kinds.filter { $0.outputs != nil }
        #expect(
          calibrated.map(\.name) == ["decoder qkv", "decoder attention out", "decoder gate and up", "decoder down"])
        #expect(calibrated.allSatisfy { 0 < $0.outputs ?? 0 && $0.outputs ?? 0 < $0.greatest })
      }
    }
  }

  @Test func theSameBytesWhateverTheThreads() throws {
    var files: Set<Data> = []
    for threads in [1, 2, 3, 7] {
      try converted(texts: Self.findings, threads: threads) { _, _, path in
        files.insert(try Data(contentsOf: URL(fileURLWithPath: path)))
      }
    }
    #expect(files.count == 1)
  }

  /// Of long files every so manieth text is read, from beginning to end.
  @Test func memoryBoundsTheTokens() throws {
    let texts = (0..<2000).map { "There is a nodule in the lung, number \($0) of two thousand." }
    try converted(texts: texts) { _, report, _ in
      let calibration = try #require(report.calibration)
      #expect((3900...Calibration.tokenLimit).contains(calibration.tokens))
      #expect((10...1000).contains(calibration.texts))
    }
    // Longer than the context of 512 tokens.
    try converted(texts: [String(repeating: "There is a nodule. ", count: 1000)]) { _, report, _ in
      #expect(report.calibration?.tokens == 512)
    }
  }

  @Test func noTextIsRefused() throws {
    #expect(throws: PetarError.self) { try converted(texts: ["", "  "]) { _, _, _ in } }
    try withTemporaryFolder { folder in
      try TestCheckpoint(.phi3).write(to: "\(folder)/tiny")
      #expect(throws: PetarError.self) {
        try convert(
          checkpoint: "\(folder)/tiny", output: "\(folder)/tiny.petar", weights: .q4, calibrate: "\(folder)/absent.txt")
      }
      #expect(try FileManager.default.contentsOfDirectory(atPath: folder) == ["tiny"])
    }
  }

  @Test func anInterruptedCalibrationLeavesNothing() throws {
    struct Stop: Error {}
    try withTemporaryFolder { folder in
      try TestCheckpoint(.phi3).write(to: "\(folder)/tiny")
      let texts = "\(folder)/tiny/typical_findings.txt"
      try Data(Self.findings.joined(separator: "\n").utf8).write(to: URL(fileURLWithPath: texts))
      for fraction in [0.99, 1.0] {
        #expect(throws: Stop.self) {
          try convert(checkpoint: "\(folder)/tiny", output: "\(folder)/tiny.petar", weights: .q4) { done, total in
            if Double(done) >= fraction * Double(total) { throw Stop() }
          }
        }
        #expect(try FileManager.default.contentsOfDirectory(atPath: folder) == ["tiny"])
      }
    }
  }
}
