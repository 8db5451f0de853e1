import Petar

/// What a model has to do for a lesion: operations (a multiplication and an addition are two) and bytes.
///
/// Counted are linear layers and attention; everything else is small beside them.
struct Work {
  private let model: ModelDescription
  /// Bytes of the weights that every decoded token needs: layers and head.
  let stepBytes: Double

  init(_ file: PetarFile) {
    model = file.description
    // The embedding is only looked up, unless it is the head too.
    let read = file.entries.filter {
      $0.name.hasPrefix("decoder.") && ($0.name != TensorName.embedding || file.description.decoder.tiedEmbeddings)
    }
    stepBytes = Double(read.reduce(0) { $0 + $1.byteCount })
  }

  /// One tower over one view. The PET tower has the mask's patch embedding and the class token on top.
  func pass(pet: Bool) -> Double {
    let (tokens, width) = (Double(model.tokenGrid.count), Double(model.vision.width))
    let rows = pet ? tokens + 1 : tokens
    let patches = 2 * tokens * Double(model.vision.patch.count) * width * (pet ? 2 : 1)
    let linears = 2 * rows * width * (4 * width + 2 * Double(model.vision.mlpWidth))
    return patches + Double(model.vision.layers) * (linears + 4 * rows * rows * width)
  }

  var encode: Double {
    let width = Double(model.decoder.width)
    let projector = (0..<model.projector.layers).reduce(0.0) { sum, layer in
      sum + 2 * Double(model.visionTokens) * width * (layer == 0 ? 2 * Double(model.vision.width) : width)
    }
    return 2 * pass(pet: true) + 2 * pass(pet: false) + projector
  }

  /// A prompt, and the head for its last position.
  func prefill(positions: Int) -> Double {
    let decoder = model.decoder
    let (width, rows) = (Double(decoder.width), Double(positions))
    let heads = Double(decoder.heads * decoder.headWidth)
    let keysValues = 2 * Double(decoder.keyValueHeads * decoder.headWidth)
    let weights = width * (heads + keysValues) + heads * width + 3 * width * Double(decoder.ffnWidth)
    // Each position looks at itself and at those before it, as far as the window goes.
    let window = decoder.slidingWindow > 0 ? decoder.slidingWindow : positions
    let pairs = (1...max(positions, 1)).reduce(0) { $0 + min($1, window) }
    return Double(decoder.layers) * (2 * rows * weights + 4 * Double(pairs) * heads)
      + 2 * width * Double(decoder.vocabulary)
  }
}
