import Petar

/// `x += out(attention(rope(qkv(norm x)))); x += down(silu(gate) * up)` with gate and up of the normed x.
struct DecoderBlock: ResidualBlock {
  let attentionNorm: RMSNormLayer
  let qkv: LinearLayer
  let attention: Attention
  let rotary: RotaryTable
  let out: LinearLayer
  let ffnNorm: RMSNormLayer
  let gateUp: LinearLayer
  let down: LinearLayer

  struct Saved {
    let normed1, qkv, logSums, attended, middle, normed2, gateUp, gated: UnsafeMutablePointer<Float>
  }

  /// - Parameter rotary: of as many positions as the longest sequence will have.
  init(_ parameters: Parameters, _ layer: Int, rotary: RotaryTable) throws {
    let shape = parameters.description.decoder
    self.rotary = rotary
    attentionNorm = RMSNormLayer(
      weight: try Weight(parameters, TensorName.attentionNorm(layer)), epsilon: shape.normEpsilon)
    qkv = try LinearLayer(parameters, weight: TensorName.qkv(layer))
    attention = Attention(
      heads: shape.heads, keyHeads: shape.keyValueHeads, headWidth: shape.headWidth, causal: true,
      window: shape.attentionWindow)
    out = try LinearLayer(parameters, weight: TensorName.attentionOut(layer))
    ffnNorm = RMSNormLayer(weight: try Weight(parameters, TensorName.ffnNorm(layer)), epsilon: shape.normEpsilon)
    gateUp = try LinearLayer(parameters, weight: TensorName.gateUp(layer))
    down = try LinearLayer(parameters, weight: TensorName.down(layer))
  }

  var width: Int { attentionNorm.weight.columns }
  var isTrained: Bool {
    attentionNorm.isTrained || ffnNorm.isTrained || [qkv, out, gateUp, down].contains(where: \.isTrained)
  }

  func forward(
    _ x: UnsafePointer<Float>, _ layout: RowLayout, into y: UnsafeMutablePointer<Float>, _ engine: Engine
  ) throws -> Saved {
    let (rows, width, arena) = (layout.rows, width, engine.arena)
    let saved = Saved(
      normed1: try arena.floats(rows * width), qkv: try arena.floats(rows * qkv.outputs),
      logSums: try arena.floats(rows * attention.heads), attended: try arena.floats(rows * out.inputs),
      middle: try arena.floats(rows * width),
      normed2: try arena.floats(rows * width), gateUp: try arena.floats(rows * gateUp.outputs),
      gated: try arena.floats(rows * down.inputs))
    attentionNorm.forward(x, rows: rows, into: saved.normed1, engine)
    try qkv.forward(saved.normed1, rows: rows, into: saved.qkv, engine)
    overTurnedHeads(saved.qkv, layout, engine, engine.kernels.rope)
    try attention.forward(saved.qkv, layout, into: saved.attended, logSums: saved.logSums, engine)
    try out.forward(saved.attended, rows: rows, into: saved.middle, residual: x, engine)
    ffnNorm.forward(saved.middle, rows: rows, into: saved.normed2, engine)
    try gateUp.forward(saved.normed2, rows: rows, into: saved.gateUp, engine)
    engine.compute.siluGate(saved.gateUp, rows: rows, width: down.inputs, into: saved.gated)
    try down.forward(saved.gated, rows: rows, into: y, residual: saved.middle, engine)
    return saved
  }

  /// `saved.gateUp` is used up.
  func backward(
    _ x: UnsafePointer<Float>, _ saved: Saved, _ layout: RowLayout, gradient: UnsafeMutablePointer<Float>,
    _ engine: Engine
  ) throws {
    let (rows, width, arena) = (layout.rows, width, engine.arena)
    let dnormed = try arena.floats(rows * width)
    try arena.scoped {
      let ffn = down.inputs
      let dgated = try arena.floats(rows * ffn)
      try down.backward(saved.gated, gradient, rows: rows, into: dgated, engine)
      engine.overRows(rows, width: ffn) { first, count in
        for row in first..<(first + count) {
          engine.operations.silu_gate_backward(dgated + row * ffn, ffn, saved.gateUp + row * 2 * ffn)
        }
      }
      try gateUp.backward(saved.normed2, saved.gateUp, rows: rows, into: dnormed, engine)
    }
    try ffnNorm.backward(saved.middle, dnormed, rows: rows, addingTo: gradient, engine)

    let dattended = try arena.floats(rows * out.inputs)
    let dqkv = try arena.floats(rows * qkv.outputs)
    try out.backward(saved.attended, gradient, rows: rows, into: dattended, engine)
    try attention.backward(
      saved.qkv, saved.attended, dattended, layout, logSums: saved.logSums, into: dqkv, engine)
    overTurnedHeads(dqkv, layout, engine, engine.operations.rope_backward)
    try qkv.backward(saved.normed1, dqkv, rows: rows, into: dnormed, engine)
    try attentionNorm.backward(x, dnormed, rows: rows, addingTo: gradient, engine)
  }

  /// Calls `turn` for every query and key head of every row with the cosines and sines of its position.
  private func overTurnedHeads(
    _ qkv: UnsafeMutablePointer<Float>, _ layout: RowLayout, _ engine: Engine,
    _ turn: (UnsafeMutablePointer<Float>?, Int, UnsafePointer<Float>?, UnsafePointer<Float>?) -> Void
  ) {
    let (stride, headWidth) = (attention.stride, attention.headWidth)
    for rows in layout.sequences {
      engine.overRows(rows.count, width: stride) { first, count in
        for position in first..<(first + count) {
          let row = qkv + (rows.lowerBound + position) * stride
          for head in 0..<(attention.heads + attention.keyHeads) {
            turn(row + head * headWidth, headWidth / 2, rotary.cosines(from: position), rotary.sines(from: position))
          }
        }
      }
    }
  }
}
