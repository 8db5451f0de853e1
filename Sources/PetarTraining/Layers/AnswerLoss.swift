import Petar

/// Final norm, head and next-token cross-entropy, for the rows that predict a token of an answer.
struct AnswerLoss {
  let norm: RMSNormLayer
  /// (vocabulary, width); the embedding where they are tied.
  let head: LinearLayer

  /// A row of the hidden states and the token that comes next.
  struct Target {
    let row: Int
    let token: Int
  }

  /// Rows whose logits are there at a time: what they take does not grow with the batch.
  private static let blockRows = 256

  var isTrained: Bool { norm.isTrained || head.isTrained }

  /// The sum of the targets' negative log-likelihoods.
  ///
  /// - Parameters:
  ///   - scale: what a target counts in the gradients, 1 / targets for their mean.
  ///   - gradient: of the hidden states, as many rows; the targets' rows are added to. nil for the loss alone.
  func forward(
    _ hidden: UnsafePointer<Float>, _ targets: [Target], scale: Float, gradient: UnsafeMutablePointer<Float>?,
    _ engine: Engine
  ) throws -> Double {
    var loss = 0.0
    for first in stride(from: 0, to: targets.count, by: Self.blockRows) {
      let block = Array(targets[first..<min(first + Self.blockRows, targets.count)])
      loss += try engine.arena.scoped {
        try forward(hidden, block: block, scale: scale, gradient: gradient, engine)
      }
    }
    return loss
  }

  private func forward(
    _ hidden: UnsafePointer<Float>, block: [Target], scale: Float, gradient: UnsafeMutablePointer<Float>?,
    _ engine: Engine
  ) throws -> Double {
    let (rows, width, vocabulary, arena) = (block.count, head.inputs, head.outputs, engine.arena)
    let gathered = try arena.floats(rows * width)
    let normed = try arena.floats(rows * width)
    let logits = try arena.floats(rows * vocabulary)
    for (index, target) in block.enumerated() {
      (gathered + index * width).update(from: hidden + target.row * width, count: width)
    }
    let all = engine.all(rows)
    norm.forward(gathered, all, into: normed)
    try head.forward(normed, all, into: logits)
    var losses = [Double](repeating: 0, count: rows)
    losses.withUnsafeMutableBufferPointer { losses in
      nonisolated(unsafe) let losses = losses
      engine.pool.run(rows) { row in
        losses[row] = engine.operations.cross_entropy(
          logits + row * vocabulary, vocabulary, block[row].token, scale)
      }
    }
    if let gradient {
      let dnormed = try arena.floats(rows * width)
      try head.backward(logits, all, into: dnormed)
      try head.addGradients(normed, logits, rows: rows, engine)
      let dgathered = try arena.floats(rows * width)
      let sums = try norm.sums(rows, engine)
      norm.backward(gathered, dnormed, all, into: dgathered, sums)
      norm.addGradients(sums, engine)
      for (index, target) in block.enumerated() {
        let row = gradient + target.row * width
        engine.operations.add_bias(row, dgathered + index * width, width, row)
      }
    }
    return losses.reduce(0, +)
  }

  /// Logits after each of `rows` rows: rows of the vocabulary.
  func logits(
    _ hidden: UnsafePointer<Float>, rows: Int, into logits: UnsafeMutablePointer<Float>, _ engine: Engine
  ) throws {
    try engine.arena.scoped {
      let normed = try engine.arena.floats(rows * head.inputs)
      norm.forward(hidden, engine.all(rows), into: normed)
      try head.forward(normed, engine.all(rows), into: logits)
    }
  }
}
