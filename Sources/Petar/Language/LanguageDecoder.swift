import CPetar

/// The decoder. It reads on in any number of texts side by side and fetches its weights once for all of them.
///
/// A position's result depends on the positions of its text before it and on nothing else: not on how many are
/// computed together and not on the other texts, so that prefill, decode, drafts, batches and teacher forcing agree
/// bit for bit.
package final class LanguageDecoder {
  private let shape: ModelDescription.Decoder
  private let imageToken: Int32
  private let weights: DecoderWeights
  private let compute: Compute
  private let scratch: Scratch
  private var rotary: RotaryTable
  private var workspace: Workspace?
  private var spare: DecoderSequence?
  /// The rows at hand, and what a layer's attention sees of them; members so that a step allocates nothing.
  private var block: [Segment] = []
  private var attending: [CausalRows] = []

  /// Rows that are computed together at most; bounds the memory of a long prompt.
  private static let blockRows = 512

  package init(
    _ description: ModelDescription, _ weights: DecoderWeights, _ compute: Compute, _ scratch: Scratch
  ) throws {
    shape = description.decoder
    imageToken = description.prompt.imageToken
    self.weights = weights
    self.compute = compute
    self.scratch = scratch
    rotary = try RotaryTable(positions: 64, headWidth: shape.headWidth, theta: shape.ropeTheta)
  }

  /// - Throws: `PETAR_ERROR_CONTEXT_FULL` when the model cannot hold a text of `positions` tokens.
  package func checkRoom(positions: Int) throws {
    guard positions <= shape.context else {
      throw PetarError(
        PETAR_ERROR_CONTEXT_FULL,
        "prompt and answer need \(positions) tokens, the model's context holds \(shape.context); "
          + "ask a shorter question or allow fewer tokens")
    }
  }

  /// An empty text with room for `positions` tokens.
  /// - Throws: `PETAR_ERROR_CONTEXT_FULL`, `PETAR_ERROR_OUT_OF_MEMORY`.
  package func sequence(positions: Int) throws -> DecoderSequence {
    try checkRoom(positions: positions)
    let room = roundedUp(positions, to: 64)
    if rotary.positions < room {
      rotary = try RotaryTable(positions: room, headWidth: shape.headWidth, theta: shape.ropeTheta)
    }
    if let spare, spare.capacity >= room {
      self.spare = nil
      return spare
    }
    let rounded = weights.layers.first?.qkv.layout.encoding.isInt8 == true
    return try DecoderSequence(shape, capacity: room, precision: rounded ? .int8 : .f32)
  }

  /// Keeps the memory of a finished text for another one; of several, that of the last.
  package func keep(_ sequence: DecoderSequence) {
    sequence.truncate(to: 0)
    spare = sequence
  }

  /// Reads what is pending in each text and writes the logits that are wanted, `vocabulary` for each position, one
  /// text after the other.
  ///
  /// If it throws, every text stands behind what was read completely.
  /// - Parameter checkpoint: called before each layer with the share of the work done; throws to stop.
  package func read(
    _ texts: some Collection<DecoderSequence>, logits: UnsafeMutablePointer<Float>,
    checkpoint: (Double) throws -> Void
  ) throws {
    for text in texts where text.pending.count > text.capacity - text.length || text.wanted > text.pending.count {
      throw PetarError(PETAR_ERROR_INTERNAL, "the decoder was given more tokens than it made room for")
    }
    let total = texts.reduce(0) { $0 + $1.pending.count }
    defer {
      block.removeAll(keepingCapacity: true)
      for text in texts {
        text.truncate(to: text.length)
        text.pending.removeAll(keepingCapacity: true)
      }
    }
    var (rows, done, logits) = (0, 0, logits)
    func compute() throws {
      try run(rows: rows, into: &logits) { layer in
        try checkpoint((Double(done) + Double(rows * layer) / Double(shape.layers)) / Double(total))
      }
      done += rows
      rows = 0
      block.removeAll(keepingCapacity: true)
    }
    for text in texts {
      var first = 0
      while first < text.pending.count {
        let count = min(text.pending.count - first, Self.blockRows - rows)
        block.append(Segment(text: text, rows: rows..<(rows + count), ids: first..<(first + count)))
        rows += count
        first += count
        if rows == Self.blockRows { try compute() }
      }
    }
    if rows > 0 { try compute() }
  }

  // ---- A block of rows -----------------------------------------------------------------------------------------------

  /// Neighbouring rows of a block that belong to one text, and which of its pending ids they are.
  private struct Segment {
    let text: DecoderSequence
    let rows: Range<Int>
    let ids: Range<Int>

    /// The last rows whose logits are wanted.
    var wanted: Range<Int> {
      let first = max(text.pending.count - text.wanted, ids.lowerBound) - ids.lowerBound
      return min(rows.lowerBound + first, rows.upperBound)..<rows.upperBound
    }
  }

  /// Activations.
  private final class Workspace {
    let rows: Int
    let hidden, normed, qkv, attended, gateUp: Buffer<Float>

    init(rows: Int, _ shape: ModelDescription.Decoder) throws {
      self.rows = rows
      let heads = shape.heads * shape.headWidth
      hidden = try Buffer(count: rows * shape.width)
      normed = try Buffer(count: rows * shape.width)
      qkv = try Buffer(count: rows * (shape.heads + 2 * shape.keyValueHeads) * shape.headWidth)
      attended = try Buffer(count: rows * heads)
      gateUp = try Buffer(count: rows * 2 * shape.ffnWidth)
    }
  }

  private func room(for rows: Int) throws -> Workspace {
    if let workspace, workspace.rows >= rows { return workspace }
    workspace = nil
    let fresh = try Workspace(rows: rows, shape)
    workspace = fresh
    return fresh
  }

  /// Takes the block through all layers and the head; `logits` moves on behind what it writes.
  private func run(
    rows: Int, into logits: inout UnsafeMutablePointer<Float>, checkpoint: (Int) throws -> Void
  ) throws {
    let space = try room(for: rows)
    try embed(into: space)
    var left = rows
    for (index, layer) in weights.layers.enumerated() {
      try checkpoint(index)
      left = try run(layer, index, rows: rows, space)
    }
    for segment in block { segment.text.advance(by: segment.rows.count) }
    try head(rows: left, space, into: &logits)
  }

  private func embed(into space: Workspace) throws {
    for segment in block {
      let text = segment.text
      var vision = text.vision
      if let rows = vision {
        vision = rows + text.pending[..<segment.ids.lowerBound].count { $0 == imageToken } * shape.width
      }
      for (row, id) in zip(segment.rows, text.pending[segment.ids]) {
        let target = space.hidden.base + row * shape.width
        if id == imageToken, let source = vision {
          target.update(from: source, count: shape.width)
          vision = source + shape.width
        } else {
          try weights.embedding.unpackRow(Int(id), into: target)
        }
      }
    }
  }

  /// A row whose logits nobody wants leaves keys and values in the last layer and nothing else: behind attention only
  /// the wanted rows go on, one after the other. A prefill saves 2 % by it.
  /// - Returns: how many rows go on.
  private func run(_ layer: DecoderWeights.Layer, _ index: Int, rows: Int, _ space: Workspace) throws -> Int {
    let hidden = space.hidden.base
    let isLast = index == shape.layers - 1
    try compute.linear(
      hidden, rows: rows, after: .rmsNorm(weight: layer.attentionNorm.base, epsilon: shape.normEpsilon), layer.qkv,
      into: space.qkv.base, scratch: scratch)
    try attend(layer: index, onlyWanted: isLast, space)
    let rows = isLast ? gatherWanted(space) : rows
    try compute.linear(space.attended.base, rows: rows, layer.out, into: hidden, .add, scratch: scratch)

    try compute.linear(
      hidden, rows: rows, after: .rmsNorm(weight: layer.ffnNorm.base, epsilon: shape.normEpsilon), layer.gateUp,
      into: space.gateUp.base, scratch: scratch)
    try compute.linear(
      space.gateUp.base, rows: rows, after: .siluGate, layer.down, into: hidden, .add, scratch: scratch)
    return rows
  }

  /// - Parameter onlyWanted: leave out results that nobody wants; the others come one after the other.
  private func attend(layer: Int, onlyWanted: Bool, _ space: Workspace) throws {
    let width = shape.heads * shape.headWidth
    let stride = width + 2 * shape.keyValueHeads * shape.headWidth
    defer { attending.removeAll(keepingCapacity: true) }
    var out = space.attended.base
    for segment in block {
      let results = onlyWanted ? segment.wanted.count : segment.rows.count
      attending.append(
        CausalRows(
          qkv: space.qkv.base + segment.rows.lowerBound * stride, rows: segment.rows.count, results: results,
          segment.text.caches[layer], into: out))
      out += results * width
    }
    try compute.attend(
      attending, heads: shape.heads, window: shape.attentionWindow, rotary,
      scratch: scratch)
  }

  /// Brings the hidden states of the wanted rows together and returns how many there are.
  private func gatherWanted(_ space: Workspace) -> Int {
    let hidden = space.hidden.base
    var count = 0
    for segment in block {
      (hidden + count * shape.width).update(
        from: hidden + segment.wanted.lowerBound * shape.width, count: segment.wanted.count * shape.width)
      count += segment.wanted.count
    }
    return count
  }

  /// - Parameter rows: hidden states, one for each row of logits.
  private func head(rows: Int, _ space: Workspace, into logits: inout UnsafeMutablePointer<Float>) throws {
    compute.rmsNorm(
      space.hidden.base, rows: rows, width: shape.width, weight: weights.norm.base, epsilon: shape.normEpsilon,
      into: space.normed.base)
    try compute.linear(space.normed.base, rows: rows, weights.head, bias: nil, into: logits, .store, scratch: scratch)
    logits += rows * shape.vocabulary
  }
}
