import Petar

/// `x += out(attention(norm1 x)); x += mlpOut(gelu(mlpIn(norm2 x)))`
struct VisionBlock: ResidualBlock {
  let norm1: LayerNormLayer
  let qkv: LinearLayer
  let attention: Attention
  let out: LinearLayer
  let norm2: LayerNormLayer
  let mlpIn: LinearLayer
  let mlpOut: LinearLayer

  struct Saved {
    let normed1, qkv, logSums, attended, middle, normed2, mlpSlope, activated: UnsafeMutablePointer<Float>
  }

  init(_ parameters: Parameters, _ tower: TensorName.Tower, _ layer: Int) throws {
    let vision = parameters.description.vision
    func norm(_ weight: String, _ bias: String) throws -> LayerNormLayer {
      LayerNormLayer(
        weight: try Weight(parameters, weight), bias: try Weight(parameters, bias), epsilon: vision.normEpsilon)
    }
    norm1 = try norm(TensorName.norm1Weight(tower, layer), TensorName.norm1Bias(tower, layer))
    qkv = try LinearLayer(
      parameters, weight: TensorName.visionQKV(tower, layer),
      bias: vision.qkvBias ? TensorName.visionQKVBias(tower, layer) : nil)
    let heads = parameters.description.visionHeads
    attention = Attention(heads: heads, keyHeads: heads, headWidth: vision.headWidth, causal: false)
    out = try LinearLayer(
      parameters, weight: TensorName.visionOut(tower, layer), bias: TensorName.visionOutBias(tower, layer))
    norm2 = try norm(TensorName.norm2Weight(tower, layer), TensorName.norm2Bias(tower, layer))
    mlpIn = try LinearLayer(
      parameters, weight: TensorName.mlpIn(tower, layer), bias: TensorName.mlpInBias(tower, layer))
    mlpOut = try LinearLayer(
      parameters, weight: TensorName.mlpOut(tower, layer), bias: TensorName.mlpOutBias(tower, layer))
  }

  var width: Int { norm1.weight.columns }
  var isTrained: Bool {
    norm1.isTrained || norm2.isTrained || [qkv, out, mlpIn, mlpOut].contains(where: \.isTrained)
  }

  func forward(
    _ x: UnsafePointer<Float>, _ layout: RowLayout, into y: UnsafeMutablePointer<Float>, _ engine: Engine
  ) throws -> Saved {
    let (rows, width, arena) = (layout.rows, width, engine.arena)
    let saved = Saved(
      normed1: try arena.floats(rows * width), qkv: try arena.floats(rows * qkv.outputs),
      logSums: try arena.floats(rows * attention.heads), attended: try arena.floats(rows * width),
      middle: try arena.floats(rows * width),
      normed2: try arena.floats(rows * width), mlpSlope: try arena.floats(rows * mlpIn.outputs),
      activated: try arena.floats(rows * mlpIn.outputs))
    try engine.overParts(rows, .forward, [qkv]) { part, _ in
      norm1.forward(x, part, into: saved.normed1)
      try qkv.forward(saved.normed1, part, into: saved.qkv, next: part.upcomingNext(x, width: width))
    }
    try attention.forward(saved.qkv, layout, into: saved.attended, logSums: saved.logSums, engine)
    try engine.overParts(rows, .forward, [out, mlpIn, mlpOut]) { part, _ in
      try out.forward(
        saved.attended, part, into: saved.middle, residual: x,
        next: part.upcomingNext(saved.attended, width: width))
      norm2.forward(saved.middle, part, into: saved.normed2)
      try mlpIn.forward(saved.normed2, part, into: saved.mlpSlope)
      GELU.forward(saved.mlpSlope, part, width: mlpIn.outputs, into: saved.activated)
      try mlpOut.forward(saved.activated, part, into: y, residual: saved.middle)
    }
    return saved
  }

  /// `saved.mlpSlope` is used up.
  func backward(
    _ x: UnsafePointer<Float>, _ saved: Saved, _ layout: RowLayout, gradient: UnsafeMutablePointer<Float>,
    _ engine: Engine
  ) throws {
    let (rows, width, arena) = (layout.rows, width, engine.arena)
    let dmiddle = try arena.floats(rows * width)
    let dattended = try arena.floats(rows * width)
    let dqkv = try arena.floats(rows * qkv.outputs)
    let (sums1, sums2) = (try norm1.sums(rows, engine), try norm2.sums(rows, engine))
    let (qkvSums, outSums) = (try qkv.biasSums(rows, engine), try out.biasSums(rows, engine))
    let (mlpInSums, mlpOutSums) = (try mlpIn.biasSums(rows, engine), try mlpOut.biasSums(rows, engine))
    let dmlp = saved.mlpSlope
    try engine.overParts(rows, .backward, [mlpOut, mlpIn, out], scratch: width) { part, scratch in
      let dnormed = scratch.rows(width)
      mlpOut.sumBias(gradient, part, mlpOutSums)
      try mlpOut.backward(
        gradient, part, into: dmlp, multiplies: true, next: part.upcoming(saved.middle, width: width))
      mlpIn.sumBias(dmlp, part, mlpInSums)
      try mlpIn.backward(dmlp, part, into: dnormed, isNear: true)
      norm2.backward(saved.middle, dnormed, part, into: dmiddle, residual: gradient, sums2)
      out.sumBias(dmiddle, part, outSums)
      try out.backward(dmiddle, part, into: dattended, next: part.upcomingNext(gradient, width: width))
    }
    try attention.backward(
      saved.qkv, saved.attended, dattended, layout, logSums: saved.logSums, into: dqkv,
      beside: mlpOut.weightGradient(saved.activated, gradient, rows: rows, engine)
        + mlpIn.weightGradient(saved.normed2, dmlp, rows: rows, engine)
        + out.weightGradient(saved.attended, dmiddle, rows: rows, engine), engine)
    try mlpOut.addOtherGradients(saved.activated, gradient, rows: rows, biasSums: mlpOutSums, engine)
    try mlpIn.addOtherGradients(saved.normed2, dmlp, rows: rows, biasSums: mlpInSums, engine)
    try out.addOtherGradients(saved.attended, dmiddle, rows: rows, biasSums: outSums, engine)
    norm2.addGradients(sums2, engine)

    try engine.overParts(
      rows, .backward, [qkv], beside: qkv.weightGradient(saved.normed1, dqkv, rows: rows, engine), scratch: width
    ) { part, scratch in
      let dnormed = scratch.rows(width)
      qkv.sumBias(dqkv, part, qkvSums)
      try qkv.backward(dqkv, part, into: dnormed, isNear: true, next: part.upcoming(x, width: width))
      norm1.backward(x, dnormed, part, into: gradient, residual: dmiddle, sums1)
    }
    try qkv.addOtherGradients(saved.normed1, dqkv, rows: rows, biasSums: qkvSums, engine)
    norm1.addGradients(sums1, engine)
  }
}
