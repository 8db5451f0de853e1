import CPetar
import Petar

/// Texts that the decoder reads while its q4 weights are made, to learn which errors its outputs would feel.
package struct Calibration: Sendable {
  /// The file they come from, without its folder.
  package let source: String
  package let texts: Int
  package let tokens: Int
  /// The token ids of each text.
  let sequences: [[Int32]]

  /// "4096 tokens of 97 texts of findings.txt"
  package var summary: String { "\(tokens) tokens of \(texts) texts of \(source)" }

  /// The most tokens that are read: their activations have to fit memory, 0.9 GB for PETAR-4B.
  package static let tokenLimit = 4096
  /// No text file is larger.
  private static let byteLimit = 64 << 20

  /// - Parameters:
  ///   - path: a file with a text on each line, such as findings. Of more than `tokenLimit` tokens every so manieth text
  ///     is taken.
  ///   - description: with its question; texts are read as answers to it. There is no image: what a finding says
  ///     follows the prompt at once. The image's 256 tokens would need exams, and come from the projector, not from
  ///     the embedding.
  /// - Throws: `PETAR_ERROR_IO`, and `PETAR_ERROR_BAD_FILE` when the file has no text.
  init(path: String, _ description: ModelDescription, _ tokenizer: Tokenizer) throws {
    let file = String(decoding: try SourceFile(path: path).readAll(limit: Self.byteLimit), as: UTF8.self)
    let lines = file.split(whereSeparator: \.isNewline).filter { !$0.allSatisfy(\.isWhitespace) }
    guard !lines.isEmpty else {
      throw PetarError(PETAR_ERROR_BAD_FILE, "\(path): there is no text to calibrate with; give one text a line")
    }
    self.init(
      texts: lines.map(String.init), source: path.split(separator: "/").last.map(String.init) ?? path, description,
      tokenizer)
  }

  init(texts: [String], source: String, _ description: ModelDescription, _ tokenizer: Tokenizer) {
    let prompt = tokenizer.encode(description.prompt.question, addBOS: true)
    let longest = min(description.decoder.context, Self.tokenLimit)
    let all = texts.map { Array((prompt + tokenizer.encode($0, addBOS: false)).prefix(longest)) }
    let share = min(Double(Self.tokenLimit) / Double(max(all.reduce(0) { $0 + $1.count }, 1)), 1)
    var (sequences, tokens) = ([[Int32]](), 0)
    for (index, ids) in all.enumerated()
    where (Double(index + 1) * share).rounded(.down) > (Double(index) * share).rounded(.down) {
      let ids = Array(ids.prefix(Self.tokenLimit - tokens))
      guard !ids.isEmpty else { continue }
      sequences.append(ids)
      tokens += ids.count
    }
    self.source = source
    self.sequences = sequences
    self.tokens = tokens
    self.texts = sequences.count
  }
}
