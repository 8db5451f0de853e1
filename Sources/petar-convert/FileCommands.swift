import CPetar
import Petar
import PetarConsole

/// `petar-convert inspect FILE [--json]`
enum InspectCommand {
  static func run(_ words: some Sequence<String>) throws {
    let arguments = try Arguments(words, valued: [], plain: ["--json"])
    let file = try PetarFile.open(path: try arguments.single("file"), verify: false)
    Console.out((arguments.has("--json") ? json(file) : text(file)) + "\n")
  }

  private static func json(_ file: PetarFile) -> String {
    guard case .object(let members) = file.metadata else { return file.metadata.text }
    return JSON.object(members + [("tensors", .array(file.entries.map(\.json)))]).text
  }

  private static func text(_ file: PetarFile) -> String {
    let model = file.description
    func extent(_ extent: ModelDescription.Extent) -> String { "\(extent.depth) x \(extent.height) x \(extent.width)" }
    let licence = model.provenance.licence.split(separator: "\n").first.map(String.init) ?? ""
    let decoder = model.decoder
    var lines = [
      ("name", model.name),
      ("hash", file.hash),
      ("format version", "\(PetarFileHeader.version)"),
      ("size", "\(file.byteCount) bytes, \(file.entries.count) tensors"),
      ("weights", "\(file.weightsType), \(file.parameterCount) parameters"),
      (
        "matrices",
        file.weightsByEncoding.map { "\($0.parameters) of \(decimal($0.bits, digits: 2)) bits in \($0.encoding)" }
          .joined(separator: ", ")
      ),
      ("views", "\(extent(model.views.extent)) voxels (z, y, x) in patches of \(extent(model.vision.patch))"),
      (
        "windows",
        "PET \(model.views.petWindow.lowerBound)...\(model.views.petWindow.upperBound) SUV, "
          + "CT \(model.views.ctWindow.lowerBound)...\(model.views.ctWindow.upperBound) HU"
      ),
      (
        "vision",
        "\(model.vision.sharedTower ? "one tower for PET and CT" : "a PET and a CT tower"), "
          + "\(model.vision.layers) layers of width \(model.vision.width), \(model.visionHeads) heads, "
          + "MLP \(model.vision.mlpWidth)"
      ),
      (
        "vision tokens",
        "\(model.visionTokens), from a grid of \(extent(model.tokenGrid)) pooled by \(extent(model.vision.pool))"
      ),
      ("projector", "\(model.projector.kind), \(model.projector.layers) layers"),
      (
        "decoder",
        "\(decoder.family), \(decoder.layers) layers of width \(decoder.width), \(decoder.heads) heads of "
          + "\(decoder.headWidth) (\(decoder.keyValueHeads) for key and value), FFN \(decoder.ffnWidth)"
      ),
      ("vocabulary", "\(decoder.vocabulary)\(decoder.tiedEmbeddings ? ", head tied to the embedding" : "")"),
      (
        "context",
        "\(decoder.context) tokens" + (decoder.slidingWindow > 0 ? ", window \(decoder.slidingWindow)" : "")
      ),
      ("question", model.prompt.question),
      (
        "generation",
        "at most \(model.prompt.maxTokens) tokens, ends at "
          + model.prompt.endOfText.map { "\($0)" }.joined(separator: ", ")
      ),
      ("source", "\(model.provenance.source), sha256 \(model.provenance.sourceHash)"),
      ("made by", model.provenance.tool),
      ("licence", licence),
      ("intended use", model.provenance.intendedUse),
    ]
    if model.provenance.randomWeights {
      lines.append(("WARNING", "the weights are random: nothing this model says means anything"))
    }
    return lines.map { $0.padded(16) + $1 }.joined(separator: "\n")
  }
}

/// `petar-convert verify FILE`
enum VerifyCommand {
  static func run(_ words: some Sequence<String>) throws {
    let arguments = try Arguments(words, valued: [], plain: [])
    let path = try arguments.single("file")
    let file = try PetarFile.open(path: path, verify: false)
    Interrupt.watch()
    let bar = ProgressBar("verifying")
    defer { bar.close() }
    try file.verify { done, total in
      try Interrupt.check()
      bar.show(done, total)
    }
    bar.close()
    Console.out("\(path): \(file.entries.count) tensors match their checksums; hash \(file.hash)\n")
  }
}
