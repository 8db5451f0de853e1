import CPetar
import Petar
import Testing

@Suite("Model descriptions") struct ModelDescriptionTests {
  private typealias Extent = ModelDescription.Extent

  /// A field that makes a good description a bad one, and words of the sentence that says so.
  struct Mistake: CustomTestStringConvertible, Sendable {
    let words: String
    let make: @Sendable (inout ModelDescription) -> Void

    init(_ words: String, _ make: @escaping @Sendable (inout ModelDescription) -> Void) {
      self.words = words
      self.make = make
    }

    var testDescription: String { words }
  }

  @Test(arguments: [
    Mistake("view extent is 0, not in 1...4096") { $0.views.extent.depth = 0 },
    Mistake("view extent is 4098") { $0.views.extent.width = 4098 },
    Mistake("patch extent is 0") { $0.vision.patch.height = 0 },
    Mistake("pool extent is 0") { $0.vision.pool.width = 0 },
    Mistake("view extent 5 is not a multiple of patch extent 2") { $0.views.extent.height = 5 },
    Mistake("token grid 2 is smaller than pool extent 3") { $0.vision.pool.depth = 3 },
    Mistake("token grid size is 131072, not in 1...65536") { $0.views.extent = Extent(128, 128, 64) },
    Mistake("view size is 536870912") {
      ($0.views.extent, $0.vision.patch) = (Extent(512, 1024, 1024), Extent(256, 512, 512))
    },
    // An empty window as a Float, and one too wide for it.
    Mistake("an intensity window is empty or not finite") { $0.views.petWindow = 0...1e-320 },
    Mistake("an intensity window is empty or not finite") { $0.views.ctWindow = 1e300...1e301 },
    Mistake("an intensity window is empty or not finite") { $0.views.ctWindow = -3e38...3e38 },
    Mistake("an intensity window is empty or not finite") { $0.views.petWindow = 0...Double.infinity },
    Mistake("vision width is 0") { $0.vision.width = 0 },
    Mistake("vision width is 65600") { $0.vision.width = 65600 },
    Mistake("vision layers is 1025") { $0.vision.layers = 1025 },
    Mistake("vision head width is 0") { $0.vision.headWidth = 0 },
    Mistake("vision width is not a multiple of its head width") { $0.vision.headWidth = 48 },
    Mistake("vision MLP width is 0") { $0.vision.mlpWidth = 0 },
    Mistake("projector layers is 17") { $0.projector.layers = 17 },
    Mistake("vocabulary is 0") { $0.decoder.vocabulary = 0 },
    Mistake("decoder width is 65537") { $0.decoder.width = 65537 },
    Mistake("decoder layers is 0") { $0.decoder.layers = 0 },
    Mistake("decoder heads is 0") { $0.decoder.heads = 0 },
    Mistake("decoder key/value heads is 3, not in 1...2") { $0.decoder.keyValueHeads = 3 },
    Mistake("heads are not a multiple of key/value heads") { ($0.decoder.heads, $0.decoder.keyValueHeads) = (3, 2) },
    Mistake("decoder head width is 1026") { $0.decoder.headWidth = 1026 },
    Mistake("decoder head width is odd") { $0.decoder.headWidth = 5 },
    Mistake("decoder FFN width is 0") { $0.decoder.ffnWidth = 0 },
    Mistake("sliding window is 16777217") { $0.decoder.slidingWindow = 1 << 24 + 1 },
    Mistake("context is 0") { $0.decoder.context = 0 },
    Mistake("context times decoder head width is 4294967296") {
      ($0.decoder.context, $0.decoder.headWidth) = (1 << 22, 1024)
    },
    Mistake("RoPE theta") { $0.decoder.ropeTheta = 5e-324 },
    Mistake("RoPE theta") { $0.decoder.ropeTheta = .nan },
    Mistake("a normalization epsilon is not a positive number") { $0.vision.normEpsilon = 0 },
    Mistake("a normalization epsilon is not a positive number") { $0.decoder.normEpsilon = .infinity },
    Mistake("default answer length is 65, not in 1...64") { $0.prompt.maxTokens = 65 },
    Mistake("64 vision tokens do not fit the context") {
      ($0.views.extent, $0.vision.pool) = (Extent(8, 8, 8), Extent(1, 1, 1))
    },
    Mistake("token 8 lies outside the vocabulary") { $0.prompt.endOfText = [2, 8] },
    Mistake("token -1 lies outside the vocabulary") { $0.prompt.imageToken = -1 },
    // Found while the fields are read.
    Mistake("an intensity window is empty") { $0.views.petWindow = 1...1 },
    Mistake("question has 65537 bytes") { $0.prompt.question = String(repeating: "?", count: 65537) },
    Mistake("1025 end-of-text tokens are more than 1024") { $0.prompt.endOfText = Array(repeating: 2, count: 1025) },
    Mistake("513 typical findings are more than 512") { $0.prompt.typicalFindings = Array(repeating: "", count: 513) },
    Mistake("typical finding has 1025 bytes") { $0.prompt.typicalFindings = [String(repeating: "a", count: 1025)] },
  ])
  func aFieldThatIsWrongIsNamed(_ mistake: Mistake) {
    var description = SmallPetarFile.description
    mistake.make(&description)
    expectFailure(PETAR_ERROR_BAD_FILE, mistake.words) { _ = try read(written(description)) }
  }

  @Test func aProjectorOfANewerLibrary() throws {
    var bytes = written(SmallPetarFile.description)
    // Behind the name, nine extents, two windows, four sizes, two flags and an epsilon.
    bytes[4 + 5 + 9 * 8 + 4 * 8 + 4 * 8 + 2 + 4] = 3
    expectFailure(PETAR_ERROR_BAD_FILE, "projector kind 3 is not known") { _ = try read(bytes) }
  }

  /// Every field has a value that is not the one it starts with, and no two beside each other the same.
  @Test func whatIsWrittenIsRead() throws {
    var model = ModelDescription()
    model.name = "every field"
    model.views.extent = Extent(32, 256, 128)
    model.views.petWindow = 0.5...20
    model.views.ctWindow = -160...240
    model.vision.patch = Extent(4, 16, 8)
    model.vision.pool = Extent(1, 2, 4)
    model.vision.width = 96
    model.vision.layers = 3
    model.vision.headWidth = 32
    model.vision.mlpWidth = 200
    model.vision.sharedTower = true
    model.vision.qkvBias = false
    model.vision.normEpsilon = 1e-6
    model.projector.kind = .linear
    model.projector.layers = 2
    model.decoder.family = "llama"
    model.decoder.vocabulary = 32064
    model.decoder.width = 512
    model.decoder.layers = 5
    model.decoder.heads = 8
    model.decoder.keyValueHeads = 4
    // The longest context of a usual decoder.
    model.decoder.headWidth = 128
    model.decoder.ffnWidth = 1376
    model.decoder.normEpsilon = 2e-6
    model.decoder.ropeTheta = 5e5
    model.decoder.slidingWindow = 2047
    model.decoder.context = 131072
    model.decoder.tiedEmbeddings = true
    model.prompt.imageToken = 32003
    model.prompt.question = "Was ist es? \u{1FA7A}"
    model.prompt.maxTokens = 256
    model.prompt.endOfText = [32000, 2, 32007]
    model.prompt.typicalFindings = ["Uptake in the liver.", "", String(repeating: "é", count: 512)]
    model.provenance.sourceHash = String(repeating: "0f", count: 32)
    model.provenance.source = "a folder"
    model.provenance.tool = "a test"
    model.provenance.licence = "Apache-2.0"
    model.provenance.intendedUse = "none"
    model.provenance.randomWeights = true
    #expect(try read(written(model)) == model)
    (model.vision.sharedTower, model.vision.qkvBias) = (false, true)
    (model.decoder.tiedEmbeddings, model.provenance.randomWeights) = (false, false)
    #expect(try read(written(model)) == model)
  }

  private func written(_ description: ModelDescription) -> [UInt8] {
    var writer = ByteWriter()
    description.write(to: &writer)
    return writer.bytes
  }

  private func read(_ bytes: [UInt8]) throws -> ModelDescription {
    try bytes.withUnsafeBytes { bytes in
      var reader = ByteReader(bytes, source: "test")
      let description = try ModelDescription(from: &reader)
      #expect(reader.remaining == 0)
      return description
    }
  }
}
