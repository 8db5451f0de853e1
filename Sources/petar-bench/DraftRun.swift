import CPetar
import Glibc
import Petar

/// What guessing ahead saves: findings from a file are written again, each without and with drafts in turn. Every other
/// finding is known before, as the typical findings of a model file are.
///
/// What the model would say does not come into it, so that random weights will do: the decoder is told what to write.
/// A line of the file is a finding in tokens, with spaces between them.
final class DraftRun {
  private(set) var plain = Stage("findings, no drafts")
  private(set) var drafted = Stage("findings, drafts")
  /// Finding by finding: the time without drafts over the time with them.
  private(set) var gain = Samples()
  private(set) var tokens = 0
  /// Readings of the decoder, with drafts; each finding's first token comes with the prompt.
  private(set) var passes = 0
  private let session: Session
  private let findings: [[Int32]]

  init(_ session: Session, findings path: String) throws {
    self.session = session
    let vocabulary = session.model.description.decoder.vocabulary
    var ids: [Substring: Int32] = [:]
    findings = try Self.lines(of: path).map { line in
      line.split(separator: " ").map { word in
        let id = ids[word] ?? Int32(ids.count % vocabulary)
        ids[word] = id
        return id
      }
    }.filter { !$0.isEmpty }
    guard findings.count > 1 else {
      throw PetarError(PETAR_ERROR_INVALID_ARGUMENT, "\(path): findings, one a line, are expected")
    }
  }

  func run(progress: (String) -> Void) throws {
    let exam = try Phantom.exam()
    var request = DescribeRequest()
    let known = stride(from: 0, to: findings.count, by: 2).map { findings[$0] }
    session.drafts = Drafts(typical: known)
    for index in stride(from: 1, to: findings.count, by: 2) {
      let finding = findings[index]
      progress("finding \(index / 2 + 1) of \(findings.count / 2)")
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
