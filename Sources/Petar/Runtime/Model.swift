import CPetar
import Glibc

/// A model as read from a .petar file: immutable, shared by any number of sessions and threads.
package final class Model: Sendable {
  package let file: PetarFile
  package let tokenizer: Tokenizer
  package let instructionSet: InstructionSet
  package let loadSeconds: Double
  let vision: VisionWeights
  let decoder: DecoderWeights
  /// Token ids.
  let typicalFindings: [[Int32]]

  package var description: ModelDescription { file.description }

  /// - Parameters:
  ///   - isa: an instruction set by name; nil for `PETAR_ISA` from the environment, else the machine's best.
  ///   - verify: compares every tensor with its checksum first.
  package init(path: String, isa: String? = nil, verify: Bool = false) throws {
    let clock = Stopwatch()
    instructionSet = try InstructionSet(named: isa)
    file = try PetarFile.open(path: path, verify: verify)
    let source = "tokenizer of \(path)"
    let definition = try file.tokenizerBytes.withUnsafeBytes { bytes in
      var reader = ByteReader(bytes, source: source)
      return try TokenizerDefinition(from: &reader)
    }
    tokenizer = try Tokenizer(definition, vocabulary: file.description.decoder.vocabulary, source: source)
    vision = try VisionWeights(file)
    decoder = try DecoderWeights(file)
    let tokenizer = tokenizer
    typicalFindings = file.description.prompt.typicalFindings.map { tokenizer.encode($0, addBOS: false) }
    loadSeconds = clock.seconds
    let image = file.description.prompt.imageToken
    guard try prompt(question: "").count(where: { $0 == image }) == file.description.visionTokens else {
      throw PetarError(
        PETAR_ERROR_BAD_FILE,
        "\(source): the text of the image token \(image) does not become that token; convert the checkpoint again")
    }
  }

  /// Begin-of-text, one image token for each vision token, the question: what the decoder is given.
  /// - Throws: `PETAR_ERROR_CONTEXT_FULL` for a question of megabytes.
  package func prompt(question: String?) throws -> [Int32] {
    let image = try tokenizer.decode([description.prompt.imageToken], keepSpecial: true)
    let question = question ?? description.prompt.question
    try Tokenizer.checkLength(product(image.utf8.count, description.visionTokens))
    try Tokenizer.checkLength(question.utf8.count)
    return tokenizer.encode(String(repeating: image, count: description.visionTokens) + question, addBOS: true)
  }

  /// What travels with every finding because of the model alone.
  package var warnings: [String] {
    description.provenance.randomWeights
      ? ["the weights of this model are random: the text shows that the software runs and says nothing of the exam"]
      : []
  }

  /// The part of the metadata that travels with every finding.
  package var identity: JSON {
    .object([
      ("name", .string(description.name)), ("hash", .string(file.hash)), ("weights", .string(file.weightsType)),
      ("provenance", description.provenance.json),
    ])
  }
}

/// Wall-clock time since it was made.
package struct Stopwatch {
  private let start = Self.now

  package init() {}

  package var seconds: Double { Self.now - start }

  private static var now: Double {
    var time = timespec()
    clock_gettime(CLOCK_MONOTONIC, &time)
    return Double(time.tv_sec) + Double(time.tv_nsec) * 1e-9
  }
}
