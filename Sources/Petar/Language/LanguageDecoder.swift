import CPetar

/// The decoder with the keys and values of one sequence.
///
/// A position's result depends on the positions before it and on nothing else: not on how many were computed
/// together, so that prefill, decode and teacher forcing agree bit for bit.
package final class LanguageDecoder {
  private let shape: ModelDescription.Decoder
  private let weights: DecoderWeights
  private let compute: Compute
  private let scratch: Scratch

  /// Positions computed so far.
  package private(set) var length = 0
  private var capacity = 0
  private var caches: [KeyValues] = []
  private var rotary: RotaryTable?
  private var workspace: Workspace?

  /// Rows that are computed together at most; bounds the memory of a long prompt.
  private static let blockRows = 512

  package init(_ description: ModelDescription, _ weights: DecoderWeights, _ compute: Compute, _ scratch: Scratch) {
    shape = description.decoder
    self.weights = weights
    self.compute = compute
    self.scratch = scratch
  }

  private final class Workspace {
    let rows: Int
    let hidden, normed, qkv, attended, gateUp, gated: Buffer<Float>

    init(rows: Int, _ shape: ModelDescription.Decoder) throws {
      self.rows = rows
      let heads = shape.heads * shape.headWidth
      hidden = try Buffer(count: rows * shape.width)
      normed = try Buffer(count: rows * shape.width)
      qkv = try Buffer(count: rows * (shape.heads + 2 * shape.keyValueHeads) * shape.headWidth)
      attended = try Buffer(count: rows * heads)
      gateUp = try Buffer(count: rows * 2 * shape.ffnWidth)
      gated = try Buffer(count: rows * shape.ffnWidth)
    }
  }

  /// Forgets the sequence and makes room for one of `positions` tokens.
  /// - Throws: `PETAR_ERROR_CONTEXT_FULL` when the model cannot hold that many.
  package func begin(positions: Int) throws {
    guard positions <= shape.context else {
      throw PetarError(
        PETAR_ERROR_CONTEXT_FULL,
        "prompt and answer need \(positions) tokens, the model's context holds \(shape.context); "
          + "ask a shorter question or allow fewer tokens")
    }
    length = 0
    if positions > capacity {
      let room = (positions + 63) / 64 * 64
      caches = []
      capacity = 0
      let quantized = weights.layers.first?.qkv.layout.encoding == .q8
      caches = try (0..<shape.layers).map { _ in
        try KeyValues(
          heads: shape.keyValueHeads, headWidth: shape.headWidth, capacity: room, precision: quantized ? .f16 : .f32)
      }
      rotary = try RotaryTable(positions: room, headWidth: shape.headWidth, theta: shape.ropeTheta)
      capacity = room
    }
    for cache in caches { cache.truncate(to: 0) }
  }

  /// Appends the sequence `ids`, whose image tokens take the rows of `vision` in order, and writes the logits after
  /// each of its last `last` positions (`last` x vocabulary).
  ///
  /// - Parameter checkpoint: called before each layer with the share of the work done; throws to stop.
  package func append(
    _ ids: [Int32], imageToken: Int32, vision: UnsafePointer<Float>?, last: Int,
    logits: UnsafeMutablePointer<Float>, checkpoint: (Double) throws -> Void
  ) throws {
    guard length + ids.count <= capacity, let rotary, last <= ids.count else {
      throw PetarError(PETAR_ERROR_INTERNAL, "the decoder was given more tokens than it made room for")
    }
    var imageRow = 0
    var written = 0
    for start in stride(from: 0, to: ids.count, by: Self.blockRows) {
      let block = ids[start..<min(start + Self.blockRows, ids.count)]
      let space = try room(for: block.count)
      for (row, id) in block.enumerated() {
        let target = space.hidden.base + row * shape.width
        if id == imageToken, let vision {
          target.update(from: vision + imageRow * shape.width, count: shape.width)
          imageRow += 1
        } else {
          try weights.embedding.unpackRow(Int(id), into: target)
        }
      }
      for (index, layer) in weights.layers.enumerated() {
        try checkpoint((Double(start) + Double(block.count * index) / Double(shape.layers)) / Double(ids.count))
        try run(layer, caches[index], rows: block.count, rotary, space)
      }
      length += block.count
      let wanted = max(0, start + block.count - max(start, ids.count - last))
      if wanted > 0 {
        try head(
          space, firstRow: block.count - wanted, rows: wanted, into: logits + written * shape.vocabulary)
        written += wanted
      }
    }
  }

  private func room(for rows: Int) throws -> Workspace {
    if let workspace, workspace.rows >= rows { return workspace }
    workspace = nil
    let fresh = try Workspace(rows: rows, shape)
    workspace = fresh
    return fresh
  }

  private func run(
    _ layer: DecoderWeights.Layer, _ cache: KeyValues, rows: Int, _ rotary: RotaryTable, _ space: Workspace
  ) throws {
    let (heads, keyValueHeads, headWidth) = (shape.heads, shape.keyValueHeads, shape.headWidth)
    let stride = (heads + 2 * keyValueHeads) * headWidth
    let (hidden, normed, qkv) = (space.hidden.base, space.normed.base, space.qkv.base)

    compute.rmsNorm(
      hidden, rows: rows, width: shape.width, weight: layer.attentionNorm.base, epsilon: shape.normEpsilon, into: normed
    )
    try compute.linear(normed, rows: rows, layer.qkv, bias: nil, into: qkv, .store, scratch: scratch)
    // Queries and keys lie side by side and turn alike.
    compute.rope(
      qkv, stride: stride, rows: rows, heads: heads + keyValueHeads, headWidth: headWidth,
      cosines: rotary.cosines(from: length), sines: rotary.sines(from: length))
    try cache.append(
      keys: qkv + heads * headWidth, keyStride: stride, values: qkv + (heads + keyValueHeads) * headWidth,
      valueStride: stride, rows: rows, pool: compute.pool)
    try compute.attend(
      queries: qkv, stride: stride, rows: rows, heads: heads, cache,
      mask: .causal(firstPosition: length, window: shape.slidingWindow == 0 ? nil : shape.slidingWindow),
      scale: 1 / Float(headWidth).squareRoot(),
      into: space.attended.base, stride: heads * headWidth, scratch: scratch)
    try compute.linear(
      space.attended.base, rows: rows, layer.out, bias: nil, into: hidden, .add, scratch: scratch)

    compute.rmsNorm(
      hidden, rows: rows, width: shape.width, weight: layer.ffnNorm.base, epsilon: shape.normEpsilon, into: normed)
    try compute.linear(normed, rows: rows, layer.gateUp, bias: nil, into: space.gateUp.base, .store, scratch: scratch)
    compute.siluGate(space.gateUp.base, rows: rows, width: shape.ffnWidth, into: space.gated.base)
    try compute.linear(space.gated.base, rows: rows, layer.down, bias: nil, into: hidden, .add, scratch: scratch)
  }

  private func head(
    _ space: Workspace, firstRow: Int, rows: Int, into logits: UnsafeMutablePointer<Float>
  ) throws {
    compute.rmsNorm(
      space.hidden.base + firstRow * shape.width, rows: rows, width: shape.width, weight: weights.norm.base,
      epsilon: shape.normEpsilon, into: space.normed.base)
    try compute.linear(space.normed.base, rows: rows, weights.head, bias: nil, into: logits, .store, scratch: scratch)
  }
}
