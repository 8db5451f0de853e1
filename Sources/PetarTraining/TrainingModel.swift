import CPetar
import Petar

/// A model with its gradients: forward and backward passes over batches of examples.
///
/// Parameters are chosen (`Parameters.train`) before; a change of what is trained needs a new `TrainingModel`. The same
/// batch, parameters and machine give the same bits.
package final class TrainingModel {
  package let parameters: Parameters
  private let model: ModelDescription
  private let engine: Engine
  private let vision: VisionPath
  private let embedding: Weight
  private let decoder: BlockStack<DecoderBlock>
  private let loss: AnswerLoss

  /// - Parameters:
  ///   - checkpointing: keep the inputs of blocks only and compute these again in the backward pass. Takes a third
  ///     longer and changes no bit.
  ///   - longest: tokens of the longest example; nil for the model's context.
  /// - Throws: `PETAR_ERROR_OUT_OF_MEMORY`.
  package init(
    _ parameters: Parameters, pool: ThreadPool, checkpointing: Bool = false, longest: Int? = nil
  ) throws {
    self.parameters = parameters
    model = parameters.description
    engine = try Engine(pool: pool)
    vision = try VisionPath(parameters, checkpointing: checkpointing)
    embedding = try Weight(parameters, TensorName.embedding)
    let shape = model.decoder
    let rotary = try RotaryTable(
      positions: longest ?? shape.context, headWidth: shape.headWidth, theta: shape.ropeTheta)
    decoder = BlockStack(
      blocks: try (0..<shape.layers).map { try DecoderBlock(parameters, $0, rotary: rotary) },
      checkpointing: checkpointing)
    loss = AnswerLoss(
      norm: RMSNormLayer(weight: try Weight(parameters, TensorName.finalNorm), epsilon: shape.normEpsilon),
      head: try LinearLayer(
        parameters, weight: shape.tiedEmbeddings ? TensorName.embedding : TensorName.head))
  }

  /// Bytes held for activations.
  package var workspaceBytes: Int { engine.arena.byteCount }

  // ---- Training ---------------------------------------------------------------------------------------------------

  /// The mean negative log-likelihood of the batch's answer tokens; its gradients are added to those of the trained
  /// parameters.
  /// - Parameters:
  ///   - answerTokens: what the sum is divided by; nil for the batch's own answer tokens. With gradients accumulated
  ///     over several batches, give the tokens of all of them: the losses then add up to the mean.
  ///   - dropoutSeed: decides which inputs of adapters are dropped; nil for none.
  /// - Throws: what does not fit in an example, `PETAR_ERROR_OUT_OF_MEMORY`.
  package func accumulateGradients(
    _ batch: [TrainingExample], answerTokens: Int? = nil, dropoutSeed: UInt64? = nil
  ) throws -> Double {
    engine.dropoutSeed = dropoutSeed
    defer { engine.dropoutSeed = nil }
    let count = answerTokens ?? batch.reduce(0) { $0 + $1.answer.count }
    return try run(batch) { layout, seen, first in
      let trace = try decoder.forward(try embed(batch, seen), layout, backwardTo: first, engine)
      let floats = layout.rows * model.decoder.width
      let gradient = try engine.arena.floats(floats)
      gradient.update(repeating: 0, count: floats)
      let sum = try loss.forward(
        trace.output, targets(batch, layout), scale: 1 / Float(count), gradient: gradient, engine)
      try decoder.backward(trace, layout, gradient: gradient, engine)
      if inputIsTrained { try backwardInput(batch, layout, seen, gradient: gradient) }
      return sum / Double(count)
    }
  }

  /// The mean negative log-likelihood of the batch's answer tokens, without gradients.
  package func meanLoss(_ batch: [TrainingExample]) throws -> Double {
    let count = batch.reduce(0) { $0 + $1.answer.count }
    return try run(batch) { layout, seen, _ in
      let trace = try decoder.forward(
        try embed(batch, seen), layout, backwardTo: decoder.blocks.count, engine)
      return try loss.forward(trace.output, targets(batch, layout), scale: 0, gradient: nil, engine) / Double(count)
    }
  }

  /// Vision tokens of each example (`visionTokens` x decoder width) and the logits after each of its positions
  /// (positions x vocabulary).
  package func evaluate(_ batch: [TrainingExample]) throws -> [(vision: [Float], logits: [Float])] {
    try run(batch) { layout, seen, _ in
      let trace = try decoder.forward(
        try embed(batch, seen), layout, backwardTo: decoder.blocks.count, engine)
      let (width, vocabulary) = (model.decoder.width, model.decoder.vocabulary)
      let logits = try engine.arena.floats(layout.rows * vocabulary)
      try loss.logits(trace.output, rows: layout.rows, into: logits, engine)
      let floats = model.visionTokens * width
      return layout.sequences.enumerated().map { index, rows in
        (
          Array(UnsafeBufferPointer(start: seen.trace.output + seen.places[index] * floats, count: floats)),
          Array(
            UnsafeBufferPointer(start: logits + rows.lowerBound * vocabulary, count: rows.count * vocabulary))
        )
      }
    }
  }

  // ---- Parts ------------------------------------------------------------------------------------------------------

  /// Whether the gradient of the decoder's inputs is wanted.
  private var inputIsTrained: Bool { embedding.isTrained || vision.isTrained }

  /// What was seen for a batch. Examples with the same views, as several questions about a lesion have them, share it:
  /// the towers are most of the work of a short answer.
  private struct Seen {
    let trace: VisionPath.Trace
    /// For each example, whose place in `trace` its vision tokens have.
    let places: [Int]
  }

  private func see(_ batch: [TrainingExample]) throws -> Seen {
    var distinct: [TrainingExample] = []
    var places: [UnsafeMutablePointer<Float>: Int] = [:]
    let placeOfEach = batch.map { example in
      if let place = places[example.global.pet.base] { return place }
      places[example.global.pet.base] = distinct.count
      distinct.append(example)
      return distinct.count - 1
    }
    return Seen(trace: try vision.forward(distinct, engine), places: placeOfEach)
  }

  private func run<Result>(
    _ batch: [TrainingExample], _ body: (RowLayout, Seen, _ firstTrained: Int) throws -> Result
  ) throws -> Result {
    guard !batch.isEmpty else { throw PetarError(PETAR_ERROR_INVALID_ARGUMENT, "a batch has no examples") }
    for example in batch { try example.validate(model) }
    try engine.arena.reset()
    return try withDefaultFloatingPoint {
      let seen = try see(batch)
      return try body(
        RowLayout(lengths: batch.map(\.ids.count)), seen, inputIsTrained ? 0 : decoder.firstTrained)
    }
  }

  /// Embeddings of all tokens; image tokens are replaced by vision tokens in order.
  private func embed(_ batch: [TrainingExample], _ seen: Seen) throws -> UnsafeMutablePointer<Float> {
    let width = model.decoder.width
    let hidden = try engine.arena.floats(batch.reduce(0) { $0 + $1.ids.count } * width)
    overTokens(batch, seen) { row, id, visionRow in
      let source = visionRow.map { seen.trace.output + $0 * width } ?? embedding.values + id * width
      (hidden + row * width).update(from: source, count: width)
    }
    return hidden
  }

  private func backwardInput(
    _ batch: [TrainingExample], _ layout: RowLayout, _ seen: Seen, gradient: UnsafePointer<Float>
  ) throws {
    let width = model.decoder.width
    let floats = seen.trace.examples * model.visionTokens * width
    let dvision = try engine.arena.floats(floats)
    dvision.update(repeating: 0, count: floats)
    overTokens(batch, seen) { row, id, visionRow in
      let source = gradient + row * width
      if let visionRow {
        let sums = dvision + visionRow * width
        engine.operations.add_bias(sums, source, width, sums)
      } else if let sums = embedding.gradient {
        engine.operations.add_bias(sums + id * width, source, width, sums + id * width)
      }
    }
    if vision.isTrained { try vision.backward(seen.trace, gradient: dvision, engine) }
  }

  /// Calls `body` for each row of the batch with its token and, for an image token, the row of its vision token.
  private func overTokens(
    _ batch: [TrainingExample], _ seen: Seen, _ body: (_ row: Int, _ id: Int, _ visionRow: Int?) -> Void
  ) {
    var row = 0
    for (example, place) in zip(batch, seen.places) {
      var visionRow = place * model.visionTokens
      for id in example.ids {
        if id == model.prompt.imageToken {
          body(row, Int(id), visionRow)
          visionRow += 1
        } else {
          body(row, Int(id), nil)
        }
        row += 1
      }
    }
  }

  private func targets(_ batch: [TrainingExample], _ layout: RowLayout) -> [AnswerLoss.Target] {
    zip(batch, layout.sequences).flatMap { example, rows in
      example.answer.map { AnswerLoss.Target(row: rows.lowerBound + $0 - 1, token: Int(example.ids[$0])) }
    }
  }
}
