import Petar

/// PET and CT features side by side, the global and the focal view's added, then averaged over windows of the token
/// grid. What does not fill a window is dropped (torch `AvgPool3d`).
struct Fusion {
  let model: ModelDescription

  /// The features of one modality: for each example the rows of the global view, then those of the focal one.
  struct Features {
    let base: UnsafeMutablePointer<Float>
    /// Rows of an image, and those before its first token.
    let rows: Int
    let skipped: Int
  }

  var width: Int { 2 * model.vision.width }

  /// `examples * visionTokens` rows of `width`.
  func forward(pet: Features, ct: Features, examples: Int, into pooled: UnsafeMutablePointer<Float>, _ engine: Engine) {
    let share = 1 / Float(model.vision.pool.count)
    overWindows(examples, engine) { target, tokens in
      let row = pooled + target * width
      row.update(repeating: 0, count: width)
      for (features, column) in [(pet, 0), (ct, width / 2)] {
        for token in tokens {
          let source = features.base + place(token, features)
          engine.operations.add_bias(row + column, source, width / 2, row + column)
        }
      }
      for column in 0..<width { row[column] *= share }
    }
  }

  /// Writes the gradient of the features, all rows of them.
  func backward(
    _ gradient: UnsafePointer<Float>, examples: Int, pet: Features?, ct: Features?, _ engine: Engine
  ) {
    for features in [pet, ct].compactMap({ $0 }) {
      features.base.update(repeating: 0, count: examples * 2 * features.rows * width / 2)
    }
    let share = 1 / Float(model.vision.pool.count)
    overWindows(examples, engine) { target, tokens in
      for (features, column) in [(pet, 0), (ct, width / 2)] {
        guard let features else { continue }
        let source = gradient + target * width + column
        for token in tokens {
          let row = features.base + place(token, features)
          for index in 0..<width / 2 { row[index] = source[index] * share }
        }
      }
    }
  }

  private struct Token {
    let image: Int
    let index: Int
  }

  private func place(_ token: Token, _ features: Features) -> Int {
    (token.image * features.rows + features.skipped + token.index) * (width / 2)
  }

  /// Calls `body` for each pooled row with the tokens of both views that are averaged in it.
  private func overWindows(_ examples: Int, _ engine: Engine, _ body: (_ row: Int, _ tokens: [Token]) -> Void) {
    let (grid, window, pooled) = (model.tokenGrid, model.vision.pool, model.pooledGrid)
    engine.pool.run(examples) { example in
      for position in 0..<pooled.count {
        let z = position / (pooled.height * pooled.width) * window.depth
        let y = position / pooled.width % pooled.height * window.height
        let x = position % pooled.width * window.width
        var tokens: [Token] = []
        for image in [2 * example, 2 * example + 1] {
          for offset in 0..<window.count {
            let dz = offset / (window.height * window.width)
            let (dy, dx) = (offset / window.width % window.height, offset % window.width)
            tokens.append(
              Token(image: image, index: ((z + dz) * grid.height + y + dy) * grid.width + x + dx))
          }
        }
        body(example * pooled.count + position, tokens)
      }
    }
  }
}
