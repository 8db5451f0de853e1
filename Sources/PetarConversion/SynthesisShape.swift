import Petar

/// A model whose shapes are known and whose weights are to be made up.
package struct SynthesisShape: Sendable {
  package let name: String
  /// Complete but for the tokenizer's and the provenance's parts.
  package let description: ModelDescription

  package init(name: String, description: ModelDescription) {
    self.name = name
    self.description = description
  }

  /// PETAR-4B, and the same layers, fewer of them and with fewer words, for tests and measurements that have to be
  /// short.
  package static let all = [
    SynthesisShape(name: "petar-4b", description: petar4B(visionLayers: 12, decoderLayers: 32, vocabulary: 32064)),
    SynthesisShape(
      name: "petar-4b-2-layers", description: petar4B(visionLayers: 2, decoderLayers: 2, vocabulary: 2048)),
  ]

  /// Two towers as the released code has them, and Phi-3-mini-4k as the decoder.
  private static func petar4B(visionLayers: Int, decoderLayers: Int, vocabulary: Int) -> ModelDescription {
    var model = ModelDescription()
    model.views.extent = ModelDescription.Extent(32, 256, 256)
    model.vision.patch = ModelDescription.Extent(4, 16, 16)
    model.vision.pool = ModelDescription.Extent(2, 2, 2)
    model.vision.width = 768
    model.vision.layers = visionLayers
    model.vision.mlpWidth = 3072
    model.projector.layers = 2
    model.decoder.family = "phi3"
    model.decoder.vocabulary = vocabulary
    model.decoder.width = 3072
    model.decoder.layers = decoderLayers
    model.decoder.heads = 32
    model.decoder.keyValueHeads = 32
    model.decoder.headWidth = 96
    model.decoder.ffnWidth = 8192
    model.decoder.slidingWindow = 2047
    model.decoder.context = 4096
    model.prompt.question = "Please describe the region highlighted in the PET image."
    model.prompt.maxTokens = 256
    return model
  }
}
