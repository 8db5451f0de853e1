import Glibc

/// A model as read from a .petar file: immutable, shared by any number of sessions and threads.
package final class Model: Sendable {
  package let file: PetarFile
  package let tokenizer: Tokenizer
  package let instructionSet: InstructionSet
  package let loadSeconds: Double
  let vision: VisionWeights
  let decoder: DecoderWeights

  package var description: ModelDescription { file.description }

  /// - Parameters:
  ///   - isa: an instruction set by name; nil for `PETAR_ISA` from the environment, else the machine's best.
  ///   - verify: compares every tensor with its checksum first.
  package init(path: String, isa: String? = nil, verify: Bool = false) throws {
    let clock = Stopwatch()
    instructionSet = try InstructionSet(named: isa)
    file = try PetarFile.open(path: path, verify: verify)
    tokenizer = try Tokenizer(
      file.tokenizer, vocabulary: file.description.decoder.vocabulary, source: "tokenizer of \(file.source)")
    vision = try VisionWeights(file)
    decoder = try DecoderWeights(file)
    loadSeconds = clock.seconds
  }

  /// Begin-of-text, one image token for each vision token, the question: what the decoder is given.
  package func prompt(question: String?) throws -> [Int32] {
    let image = try tokenizer.decode([description.prompt.imageToken], keepSpecial: true)
    return tokenizer.encode(
      String(repeating: image, count: description.visionTokens) + (question ?? description.prompt.question),
      addBOS: true)
  }

  /// What the file says of itself.
  package var metadata: JSON {
    let model = description
    func extent(_ value: ModelDescription.Extent) -> JSON { .integers([value.depth, value.height, value.width]) }
    return .object([
      ("name", .string(model.name)),
      ("hash", .string(file.hash)),
      ("weights", .string(file.weightsType)),
      ("parameters", .integer(file.parameterCount)),
      ("file_bytes", .integer(file.byteCount)),
      (
        "views",
        .object([
          ("shape", extent(model.views.extent)),
          ("pet_window_suv", .numbers([model.views.petWindow.lowerBound, model.views.petWindow.upperBound])),
          ("ct_window_hu", .numbers([model.views.ctWindow.lowerBound, model.views.ctWindow.upperBound])),
        ])
      ),
      (
        "vision",
        .object([
          ("layout", .string(model.vision.sharedTower ? "shared tower" : "two towers")),
          ("patch", extent(model.vision.patch)), ("pool", extent(model.vision.pool)),
          ("width", .integer(model.vision.width)), ("layers", .integer(model.vision.layers)),
          ("heads", .integer(model.visionHeads)), ("mlp_width", .integer(model.vision.mlpWidth)),
          ("qkv_bias", .bool(model.vision.qkvBias)), ("tokens", .integer(model.visionTokens)),
        ])
      ),
      (
        "projector",
        .object([
          ("kind", .string("\(model.projector.kind)")), ("layers", .integer(model.projector.layers)),
        ])
      ),
      (
        "decoder",
        .object([
          ("family", .string(model.decoder.family)), ("vocabulary", .integer(model.decoder.vocabulary)),
          ("width", .integer(model.decoder.width)), ("layers", .integer(model.decoder.layers)),
          ("heads", .integer(model.decoder.heads)), ("key_value_heads", .integer(model.decoder.keyValueHeads)),
          ("head_width", .integer(model.decoder.headWidth)), ("ffn_width", .integer(model.decoder.ffnWidth)),
          ("rope_theta", .number(model.decoder.ropeTheta)),
          ("sliding_window", .integer(model.decoder.slidingWindow)), ("context", .integer(model.decoder.context)),
          ("tied_embeddings", .bool(model.decoder.tiedEmbeddings)),
        ])
      ),
      (
        "prompt",
        .object([
          ("question", .string(model.prompt.question)), ("image_token", .integer(Int(model.prompt.imageToken))),
          ("max_tokens", .integer(model.prompt.maxTokens)),
          ("end_of_text", .integers(model.prompt.endOfText.map { Int($0) })),
        ])
      ),
      ("provenance", provenance),
    ])
  }

  /// The part of the metadata that travels with every finding.
  package var identity: JSON {
    .object([
      ("name", .string(description.name)), ("hash", .string(file.hash)), ("weights", .string(file.weightsType)),
      ("provenance", provenance),
    ])
  }

  private var provenance: JSON {
    let origin = description.provenance
    return .object([
      ("source", .string(origin.source)), ("source_hash", .string(origin.sourceHash)), ("tool", .string(origin.tool)),
      ("licence", .string(origin.licence)), ("intended_use", .string(origin.intendedUse)),
      ("random_weights", .bool(origin.randomWeights)),
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
