import CPetar

/// Everything about a model but its tensors: shapes, windows, prompt, generation defaults and where it came from.
///
/// A .petar file carries one of these; no size is known to the code in advance.
package struct ModelDescription: Sendable, Equatable {
  package var name = ""
  package var views = Views()
  package var vision = Vision()
  package var projector = Projector()
  package var decoder = Decoder()
  package var prompt = Prompt()
  package var provenance = Provenance()

  /// Extent along z, y and x.
  package struct Extent: Sendable, Equatable {
    package var depth = 0, height = 0, width = 0
    package init(_ depth: Int, _ height: Int, _ width: Int) {
      self.depth = depth
      self.height = height
      self.width = width
    }
    package var count: Int { depth * height * width }
  }

  /// What the towers are shown (upstream inference script; `Imaging/` explains each number).
  package struct Views: Sendable, Equatable {
    /// Voxels of a view, e.g. 32 x 256 x 256.
    package var extent = Extent(0, 0, 0)
    /// Windows that are scaled to 0...1.
    package var petWindow: ClosedRange<Double> = 0...12
    package var ctWindow: ClosedRange<Double> = -300...400
    package init() {}
  }

  package struct Vision: Sendable, Equatable {
    package var patch = Extent(0, 0, 0)
    /// Average pooling of the token grid before the projector, e.g. 2 x 2 x 2.
    package var pool = Extent(0, 0, 0)
    package var width = 0
    package var layers = 0
    package var headWidth = 64
    package var mlpWidth = 0
    /// Paper: one tower sees PET and CT. Released code: two towers.
    package var sharedTower = false
    package var qkvBias = false
    package var normEpsilon: Float = 1e-5
    package init() {}
  }

  package struct Projector: Sendable, Equatable {
    package enum Kind: UInt32, Sendable {
      /// Linear layers with GELU (erf) between them.
      case mlp = 1
      /// Linear layers one after another.
      case linear = 2
    }
    package var kind = Kind.mlp
    package var layers = 0
    package init() {}
  }

  package struct Decoder: Sendable, Equatable {
    /// The family the checkpoint calls itself, for reports only: "phi3", "llama".
    package var family = ""
    package var vocabulary = 0
    package var width = 0
    package var layers = 0
    package var heads = 0
    /// Fewer than `heads` for grouped-query attention.
    package var keyValueHeads = 0
    package var headWidth = 0
    package var ffnWidth = 0
    package var normEpsilon: Float = 1e-5
    package var ropeTheta = 10000.0
    /// Positions a query may look back at, itself included; 0 for no window.
    package var slidingWindow = 0
    /// Positions that a row sees, its own among them; nil for all before it.
    package var attentionWindow: Int? { slidingWindow == 0 ? nil : slidingWindow }
    /// Longest prompt plus answer, in tokens.
    package var context = 0
    /// The embedding matrix is the head too.
    package var tiedEmbeddings = false
    package init() {}
  }

  package struct Prompt: Sendable, Equatable {
    /// The token that stands for one vision token.
    package var imageToken: Int32 = -1
    package var question = ""
    package var maxTokens = 0
    /// Any of these ends the finding.
    package var endOfText: [Int32] = []
    /// Findings as the model writes them, to guess ahead from (`Drafts`); they change no text.
    package var typicalFindings: [String] = []
    /// So many, of so many bytes each, that tokenizing them takes little of the time to load a model.
    package static let typicalFindingsLimit = 512
    package static let typicalFindingBytes = 1024
    package init() {}
  }

  package struct Provenance: Sendable, Equatable {
    /// SHA-256 (hex) over the checkpoint's files, and how it was called.
    package var sourceHash = ""
    package var source = ""
    package var tool = ""
    package var licence = ""
    package var intendedUse = ""
    /// True while the weights are random: nothing the model says means anything.
    package var randomWeights = false
    package init() {}
  }

  package init() {}
}

extension ModelDescription {
  /// Tokens along z, y and x before pooling.
  package var tokenGrid: Extent {
    Extent(
      views.extent.depth / vision.patch.depth, views.extent.height / vision.patch.height,
      views.extent.width / vision.patch.width)
  }
  package var pooledGrid: Extent {
    Extent(
      tokenGrid.depth / vision.pool.depth, tokenGrid.height / vision.pool.height, tokenGrid.width / vision.pool.width)
  }
  /// Vision tokens the decoder sees.
  package var visionTokens: Int { pooledGrid.count }
  package var visionHeads: Int { vision.width / vision.headWidth }

  /// Refuses numbers the network cannot be built from, so that no later arithmetic can trap, and sizes no exam can wait
  /// for.
  package func validate(source: String) throws {
    func require(_ holds: Bool, _ what: String) throws {
      guard holds else { throw PetarError(PETAR_ERROR_BAD_FILE, "\(source): \(what)") }
    }
    func within(_ value: Int, _ range: ClosedRange<Int>, _ what: String) throws {
      try require(range.contains(value), "\(what) is \(value), not in \(range.lowerBound)...\(range.upperBound)")
    }
    for (extent, what) in [(views.extent, "view extent"), (vision.patch, "patch extent"), (vision.pool, "pool extent")]
    {
      for side in [extent.depth, extent.height, extent.width] { try within(side, 1...4096, what) }
    }
    for (view, patch, pool) in [
      (views.extent.depth, vision.patch.depth, vision.pool.depth),
      (views.extent.height, vision.patch.height, vision.pool.height),
      (views.extent.width, vision.patch.width, vision.pool.width),
    ] {
      try require(view % patch == 0, "view extent \(view) is not a multiple of patch extent \(patch)")
      // torch AvgPool3d drops what does not fill a window; so does the runtime.
      try require(view / patch >= pool, "token grid \(view / patch) is smaller than pool extent \(pool)")
    }
    try within(tokenGrid.count, 1...1 << 16, "token grid size")
    try within(views.extent.count, 1...1 << 28, "view size")
    for window in [views.petWindow, views.ctWindow] {
      // As the runtime computes it.
      let width = Float(window.upperBound) - Float(window.lowerBound)
      try require(width > 0 && width.isFinite, "an intensity window is empty or not finite")
    }
    try within(vision.width, 1...1 << 16, "vision width")
    try within(vision.layers, 1...1024, "vision layers")
    try within(vision.headWidth, 1...1024, "vision head width")
    try require(vision.width % vision.headWidth == 0, "vision width is not a multiple of its head width")
    try within(vision.mlpWidth, 1...1 << 18, "vision MLP width")
    try within(projector.layers, 1...16, "projector layers")
    try within(decoder.vocabulary, 1...1 << 22, "vocabulary")
    try within(decoder.width, 1...1 << 16, "decoder width")
    try within(decoder.layers, 1...1024, "decoder layers")
    try within(decoder.heads, 1...1024, "decoder heads")
    try within(decoder.keyValueHeads, 1...decoder.heads, "decoder key/value heads")
    try require(decoder.heads % decoder.keyValueHeads == 0, "heads are not a multiple of key/value heads")
    try within(decoder.headWidth, 2...1024, "decoder head width")
    try require(decoder.headWidth % 2 == 0, "decoder head width is odd")
    try within(decoder.ffnWidth, 1...1 << 18, "decoder FFN width")
    try within(decoder.slidingWindow, 0...1 << 24, "sliding window")
    try within(decoder.context, 1...1 << 22, "context")
    // The rotary table, 2^26 values, is made whole when a model is opened.
    try within(decoder.context * decoder.headWidth, 1...1 << 26, "context times decoder head width")
    try require(decoder.ropeTheta.isFinite && decoder.ropeTheta >= 1, "RoPE theta is not a number from 1 on")
    for epsilon in [vision.normEpsilon, decoder.normEpsilon] {
      try require(epsilon.isFinite && epsilon > 0, "a normalization epsilon is not a positive number")
    }
    try within(prompt.maxTokens, 1...decoder.context, "default answer length")
    try require(visionTokens < decoder.context, "\(visionTokens) vision tokens do not fit the context")
    for token in prompt.endOfText + [prompt.imageToken] {
      try require(token >= 0 && Int(token) < decoder.vocabulary, "token \(token) lies outside the vocabulary")
    }
  }
}

// The section of a .petar file that holds a description. A reader knows every field and takes no others: any change
// here raises the format version in the header.
extension ModelDescription {
  package func write(to out: inout ByteWriter) {
    out.string(name)
    for extent in [views.extent, vision.patch, vision.pool] {
      for side in [extent.depth, extent.height, extent.width] { out.integer(UInt64(clamping: side)) }
    }
    for window in [views.petWindow, views.ctWindow] {
      out.double(window.lowerBound)
      out.double(window.upperBound)
    }
    for value in [vision.width, vision.layers, vision.headWidth, vision.mlpWidth] {
      out.integer(UInt64(clamping: value))
    }
    out.integer(UInt8(vision.sharedTower ? 1 : 0))
    out.integer(UInt8(vision.qkvBias ? 1 : 0))
    out.float(vision.normEpsilon)
    out.integer(projector.kind.rawValue)
    out.integer(UInt64(clamping: projector.layers))
    out.string(decoder.family)
    for value in [
      decoder.vocabulary, decoder.width, decoder.layers, decoder.heads, decoder.keyValueHeads, decoder.headWidth,
      decoder.ffnWidth, decoder.slidingWindow, decoder.context,
    ] { out.integer(UInt64(clamping: value)) }
    out.float(decoder.normEpsilon)
    out.double(decoder.ropeTheta)
    out.integer(UInt8(decoder.tiedEmbeddings ? 1 : 0))
    out.integer(prompt.imageToken)
    out.string(prompt.question)
    out.integer(UInt64(clamping: prompt.maxTokens))
    out.integer(UInt32(clamping: prompt.endOfText.count))
    for token in prompt.endOfText { out.integer(token) }
    out.integer(UInt32(clamping: prompt.typicalFindings.count))
    for finding in prompt.typicalFindings { out.string(finding) }
    for text in [
      provenance.sourceHash, provenance.source, provenance.tool, provenance.licence, provenance.intendedUse,
    ] { out.string(text) }
    out.integer(UInt8(provenance.randomWeights ? 1 : 0))
  }

  /// Reads what `write` wrote and validates it.
  package init(from reader: inout ByteReader) throws {
    self.init()
    name = try reader.string("model name")
    func extent() throws -> Extent {
      Extent(
        try reader.size("extent", limit: 1 << 20), try reader.size("extent", limit: 1 << 20),
        try reader.size("extent", limit: 1 << 20))
    }
    views.extent = try extent()
    vision.patch = try extent()
    vision.pool = try extent()
    func window() throws -> ClosedRange<Double> {
      let low = try reader.double()
      let high = try reader.double()
      guard low < high else { throw reader.fail("an intensity window is empty") }
      return low...high
    }
    views.petWindow = try window()
    views.ctWindow = try window()
    func size(_ what: String) throws -> Int { try reader.size(what, limit: 1 << 32) }
    func flag() throws -> Bool { try reader.integer(UInt8.self) != 0 }
    vision.width = try size("vision width")
    vision.layers = try size("vision layers")
    vision.headWidth = try size("vision head width")
    vision.mlpWidth = try size("vision MLP width")
    vision.sharedTower = try flag()
    vision.qkvBias = try flag()
    vision.normEpsilon = try reader.float()
    let kind: UInt32 = try reader.integer()
    guard let projectorKind = Projector.Kind(rawValue: kind) else {
      throw reader.fail("projector kind \(kind) is not known; a newer library may read this file")
    }
    projector.kind = projectorKind
    projector.layers = try size("projector layers")
    decoder.family = try reader.string("decoder family")
    decoder.vocabulary = try size("vocabulary")
    decoder.width = try size("decoder width")
    decoder.layers = try size("decoder layers")
    decoder.heads = try size("decoder heads")
    decoder.keyValueHeads = try size("decoder key/value heads")
    decoder.headWidth = try size("decoder head width")
    decoder.ffnWidth = try size("decoder FFN width")
    decoder.slidingWindow = try size("sliding window")
    decoder.context = try size("context")
    decoder.normEpsilon = try reader.float()
    decoder.ropeTheta = try reader.double()
    decoder.tiedEmbeddings = try flag()
    prompt.imageToken = try reader.integer()
    prompt.question = try reader.string("question", limit: 1 << 16)
    prompt.maxTokens = try size("default answer length")
    let count: UInt32 = try reader.integer()
    guard count <= 1024 else { throw reader.fail("\(count) end-of-text tokens are more than 1024") }
    for _ in 0..<count { prompt.endOfText.append(try reader.integer()) }
    let findings: UInt32 = try reader.integer()
    guard Int(findings) <= Prompt.typicalFindingsLimit else {
      throw reader.fail("\(findings) typical findings are more than \(Prompt.typicalFindingsLimit)")
    }
    for _ in 0..<findings {
      prompt.typicalFindings.append(try reader.string("typical finding", limit: Prompt.typicalFindingBytes))
    }
    provenance.sourceHash = try reader.string("source hash")
    provenance.source = try reader.string("source")
    provenance.tool = try reader.string("tool")
    provenance.licence = try reader.string("licence")
    provenance.intendedUse = try reader.string("intended use")
    provenance.randomWeights = try flag()
    try validate(source: reader.source)
  }
}
