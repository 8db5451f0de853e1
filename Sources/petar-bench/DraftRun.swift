import CPetar
import Glibc
import Petar

/// What guessing ahead saves: findings from a file are written again, each without and with drafts in turn.
///
/// What the model would say does not come into it, so that random weights will do: the decoder is told what to write.
/// Words are taken for tokens. Those of a real vocabulary are shorter, and the later ones of a word easier to guess, so
/// that this is the harder case.
final class DraftRun {
  private(set) var plain = Stage("findings, no drafts")
  private(set) var drafted = Stage("findings, drafts")
  /// Finding by finding: the time without drafts over the time with them.
  private(set) var gain = Samples()
  private(set) var tokens = 0
  /// Readings of the decoder, with drafts; each finding's first token comes with the prompt.
  private(set) var passes = 0
  private let session: Session
  private let exam: Exam
  private let findings: [[Int32]]

  init(_ session: Session, findings path: String) throws {
    self.session = session
    exam = try Phantom.exam()
    let vocabulary = session.model.description.decoder.vocabulary
    var ids: [Substring: Int32] = [:]
    findings = try Self.lines(of: path).map { line in
      line.split(separator: " ").map { word in
        let id = ids[word] ?? Int32(ids.count % vocabulary)
        ids[word] = id
        return id
      }
    }.filter { !$0.isEmpty }
    guard !findings.isEmpty else {
      throw PetarError(PETAR_ERROR_INVALID_ARGUMENT, "\(path): there are no findings; one a line is expected")
    }
  }

  func run(progress: (String) -> Void) throws {
    var request = DescribeRequest()
    for (index, finding) in findings.enumerated() {
      progress("finding \(index + 1) of \(findings.count)")
      request.replay = finding
      request.maxTokens = finding.count
      request.drafts = false
      let slow = try session.describe(exam, request)
      request.drafts = true
      let fast = try session.describe(exam, request)
      plain.append(slow.timings.decode)
      drafted.append(fast.timings.decode)
      gain.append(slow.timings.decode / fast.timings.decode)
      tokens += finding.count
      passes += fast.passes + 1
    }
  }

  private static func lines(of path: String) throws -> [String] {
    guard let file = fopen(path, "r") else {
      throw PetarError(PETAR_ERROR_IO, "\(path): cannot be opened: \(String(cString: strerror(errno)))")
    }
    defer { fclose(file) }
    var lines: [String] = []
    var line: UnsafeMutablePointer<CChar>?
    var capacity = 0
    defer { free(line) }
    while getline(&line, &capacity, file) > 0, let text = line {
      lines.append(String(cString: text).replacing("\n", with: ""))
    }
    return lines
  }
}
