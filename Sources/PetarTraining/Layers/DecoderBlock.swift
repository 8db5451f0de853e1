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
    try engine.overParts(rows, .forward, [qkv]) { part, _ in
      attentionNorm.forward(x, part, into: saved.normed1)
      try qkv.forward(saved.normed1, part, into: saved.qkv, next: part.upcomingNext(x, width: width))
      turnHeads(saved.qkv, layout, part, engine.kernels.rope)
    }
    try attention.forward(saved.qkv, layout, into: saved.attended, logSums: saved.logSums, engine)
    try engine.overParts(rows, .forward, [out, gateUp, down]) { part, _ in
      try out.forward(
        saved.attended, part, into: saved.middle, residual: x,
        next: part.upcomingNext(saved.attended, width: out.inputs))
      ffnNorm.forward(saved.middle, part, into: saved.normed2)
      try gateUp.forward(saved.normed2, part, into: saved.gateUp)
      part.apply(.siluGate, saved.gateUp, width: down.inputs, into: saved.gated)
      try down.forward(saved.gated, part, into: y, residual: saved.middle)
    }
    return saved
  }

  /// `saved.gateUp` is used up.
  func backward(
    _ x: UnsafePointer<Float>, _ saved: Saved, _ layout: RowLayout, gradient: UnsafeMutablePointer<Float>,
    _ engine: Engine
  ) throws {
    let (rows, width, arena) = (layout.rows, width, engine.arena)
    let dmiddle = try arena.floats(rows * width)
    let dattended = try arena.floats(rows * out.inputs)
    let dqkv = try arena.floats(rows * qkv.outputs)
    let (attentionSums, ffnSums) = (try attentionNorm.sums(rows, engine), try ffnNorm.sums(rows, engine))
    let ffn = down.inputs
    try engine.overParts(rows, .backward, [down, gateUp, out], scratch: max(ffn, width)) { part, scratch in
      let dgated = scratch.rows(ffn)
      try down.backward(
        gradient, part, into: dgated, isNear: true, next: part.upcoming(saved.gateUp, width: gateUp.outputs))
      part.forEachRow(width: ffn) { row in
        engine.operations.silu_gate_backward(dgated + row * ffn, ffn, saved.gateUp + row * 2 * ffn)
      }
      let dnormed = scratch.rows(width)
      try gateUp.backward(
        saved.gateUp, part, into: dnormed, isNear: true, next: part.upcoming(saved.middle, width: width))
      ffnNorm.backward(saved.middle, dnormed, part, into: dmiddle, residual: gradient, ffnSums)
      try out.backward(dmiddle, part, into: dattended, next: part.upcomingNext(gradient, width: width))
    }
    try attention.backward(
      saved.qkv, saved.attended, dattended, layout, logSums: saved.logSums, into: dqkv,
      beside: down.weightGradient(saved.gated, gradient, rows: rows, engine)
        + gateUp.weightGradient(saved.normed2, saved.gateUp, rows: rows, engine)
        + out.weightGradient(saved.attended, dmiddle, rows: rows, engine), engine)
    try down.addOtherGradients(saved.gated, gradient, rows: rows, engine)
    try gateUp.addOtherGradients(saved.normed2, saved.gateUp, rows: rows, engine)
    try out.addOtherGradients(saved.attended, dmiddle, rows: rows, engine)
    ffnNorm.addGradients(ffnSums, engine)

    try engine.overParts(rows, .backward, [qkv], scratch: width) { part, scratch in
      let dnormed = scratch.rows(width)
      turnHeads(dqkv, layout, part, engine.operations.rope_backward)
      try qkv.backward(dqkv, part, into: dnormed, isNear: true, next: part.upcoming(x, width: width))
      attentionNorm.backward(x, dnormed, part, into: gradient, residual: dmiddle, attentionSums)
    }
    try qkv.addGradients(saved.normed1, dqkv, rows: rows, engine)
    attentionNorm.addGradients(attentionSums, engine)
  }

  /// Calls `turn` for every query and key head of rows of q | k | v with the cosines and sines of their positions.
  private func turnHeads(
    _ qkv: UnsafeMutablePointer<Float>, _ layout: RowLayout, _ part: RowPart,
    _ turn: (UnsafeMutablePointer<Float>?, Int, UnsafePointer<Float>?, UnsafePointer<Float>?) -> Void
  ) {
    let (stride, headWidth) = (attention.stride, attention.headWidth)
    part.forEachRow(width: stride) { row in
      let position = layout.positions[row]
      for head in 0..<(attention.heads + attention.keyHeads) {
        turn(
          qkv + row * stride + head * headWidth, headWidth / 2, rotary.cosines(from: position),
          rotary.sines(from: position))
      }
    }
  }
}
