import CPetar
import Petar

/// Makes the q4 matrices of the decoder with error feedback, layer by layer, while the calibration texts pass through.
///
/// Every matrix sees the inputs that it will see: those that come out of the matrices before it as they were packed, with
/// the runtime's own arithmetic. What earlier ones have lost is so made up for by later ones as well. Memory holds the
/// activations of the texts, one matrix as f32 and what `ErrorFeedback` needs, however many layers there are.
struct CalibratedDecoder {
  let description: ModelDescription
  let plans: [TensorPlan]
  let entries: [PetarFileEntry]
  let tensors: [String: CheckpointTensor]
  let calibration: Calibration
  let compute: Compute
  let scratch = Scratch()

  /// What packing a matrix has cost.
  struct Loss {
    var weights = PackingError()
    /// The outputs for a part of the calibration tokens.
    var outputs = PackingError()
  }

  /// The matrices that it makes, as places in the list of plans.
  static func indices(_ plans: [TensorPlan]) -> [Int] {
    plans.indices.filter { plans[$0].kind.encoding(for: .q4) == .q4 }
  }

  private var shape: ModelDescription.Decoder { description.decoder }

  /// - Parameters:
  ///   - finished: gets the place of each matrix in the list of plans and what packing it has cost.
  ///   - progress: called with bytes of the checkpoint that are done; what it throws ends the work.
  func run(
    into writer: PetarFileWriter, finished: (Int, Loss) -> Void, progress: (Int) throws -> Void
  ) throws {
    let rows = calibration.tokens
    let longest = calibration.sequences.map(\.count).max() ?? 1
    let rotary = try RotaryTable(positions: longest, headWidth: shape.headWidth, theta: shape.ropeTheta)
    let cache = try KeyValues(
      heads: shape.keyValueHeads, headWidth: shape.headWidth, capacity: longest, precision: .int8)
    let attendedWidth = shape.heads * shape.headWidth
    let hidden = try embedded()
    let normed = try Buffer<Float>(count: rows * shape.width)
    let attended = try Buffer<Float>(count: rows * attendedWidth)
    let gated = try Buffer<Float>(count: rows * shape.ffnWidth)

    func pack(_ name: String, inputs: Buffer<Float>) throws -> Matrix {
      let packing = try MatrixCalibration(self, name)
      let (matrix, loss) = try packing.pack(inputs: inputs.base, rows: rows, into: writer, progress: progress)
      finished(packing.index, loss)
      return matrix
    }
    for layer in 0..<shape.layers {
      try normalize(hidden, TensorName.attentionNorm(layer), into: normed)
      let qkv = try pack(TensorName.qkv(layer), inputs: normed)
      try attend(normed, qkv, rotary, cache, into: attended)
      let out = try pack(TensorName.attentionOut(layer), inputs: attended)
      try compute.linear(attended.base, rows: rows, out, into: hidden.base, .add, scratch: scratch)

      try normalize(hidden, TensorName.ffnNorm(layer), into: normed)
      try gate(normed, try pack(TensorName.gateUp(layer), inputs: normed), into: gated)
      let down = try pack(TensorName.down(layer), inputs: gated)
      try compute.linear(gated.base, rows: rows, down, into: hidden.base, .add, scratch: scratch)
    }
  }

  // ---- The decoder's steps, as `LanguageDecoder` takes them -----------------------------------------------------------

  private func embedded() throws -> Buffer<Float> {
    let hidden = try Buffer<Float>(count: calibration.tokens * shape.width)
    let reader = try RowReader(try plan(TensorName.embedding), tensors: tensors, blockRows: 1)
    for (row, id) in calibration.sequences.joined().enumerated() {
      try reader.read(first: Int(id), count: 1, into: hidden.base + row * shape.width)
    }
    return hidden
  }

  private func normalize(_ x: Buffer<Float>, _ norm: String, into y: Buffer<Float>) throws {
    let weight = try Buffer<Float>(count: shape.width)
    try RowReader(try plan(norm), tensors: tensors, blockRows: 1).read(first: 0, count: 1, into: weight.base)
    compute.rmsNorm(
      x.base, rows: calibration.tokens, width: shape.width, weight: weight.base, epsilon: shape.normEpsilon,
      into: y.base)
  }

  private func attend(
    _ normed: Buffer<Float>, _ weights: Matrix, _ rotary: RotaryTable, _ cache: KeyValues, into out: Buffer<Float>
  ) throws {
    let (stride, width) = (weights.rows, shape.heads * shape.headWidth)
    let qkv = try Buffer<Float>(count: calibration.tokens * stride)
    try compute.linear(normed.base, rows: calibration.tokens, weights, into: qkv.base, scratch: scratch)
    var first = 0
    for sequence in calibration.sequences {
      let rows = sequence.count
      try compute.attend(
        [CausalRows(qkv: qkv.base + first * stride, rows: rows, cache, into: out.base + first * width)],
        heads: shape.heads,
        window: shape.attentionWindow, rotary, scratch: scratch)
      cache.truncate(to: 0)
      first += rows
    }
  }

  private func gate(_ normed: Buffer<Float>, _ weights: Matrix, into gated: Buffer<Float>) throws {
    let blockRows = 512
    let gateUp = try Buffer<Float>(count: blockRows * weights.rows)
    for first in stride(from: 0, to: calibration.tokens, by: blockRows) {
      let count = min(blockRows, calibration.tokens - first)
      try compute.linear(
        normed.base + first * shape.width, rows: count, weights, into: gateUp.base, scratch: scratch)
      compute.siluGate(
        gateUp.base, rows: count, width: shape.ffnWidth, into: gated.base + first * shape.ffnWidth)
    }
  }

  fileprivate func plan(_ name: String) throws -> TensorPlan { plans[try index(name)] }

  fileprivate func index(_ name: String) throws -> Int {
    guard let index = plans.firstIndex(where: { $0.name == name }) else {
      throw PetarError(PETAR_ERROR_INTERNAL, "tensor \(name) was not planned")
    }
    return index
  }
}

/// One matrix on its way from the checkpoint to the file.
private struct MatrixCalibration {
  let index: Int
  private let plan: TensorPlan
  private let layout: MatrixLayout
  private let tensors: [String: CheckpointTensor]
  private let compute: Compute
  private let scratch: Scratch

  /// Tokens for which outputs are compared, spread over all of them.
  private static let comparedRows = 128

  init(_ decoder: CalibratedDecoder, _ name: String) throws {
    index = try decoder.index(name)
    plan = decoder.plans[index]
    guard case .matrix(let layout) = decoder.entries[index].form else {
      throw PetarError(PETAR_ERROR_INTERNAL, "tensor \(name) is no matrix")
    }
    self.layout = layout
    tensors = decoder.tensors
    compute = decoder.compute
    scratch = decoder.scratch
  }

  func pack(
    inputs: UnsafePointer<Float>, rows: Int, into writer: PetarFileWriter, progress: (Int) throws -> Void
  ) throws -> (Matrix, CalibratedDecoder.Loss) {
    do {
      let columns = layout.columns
      let rotated = try Buffer<Float>(count: product(rows, columns) ?? Int.max)
      rotated.base.update(from: inputs, count: rows * columns)
      rotateRows(rotated.base, count: rows)
      let feedback = try ErrorFeedback(
        inputs: rotated.base, rows: rows, columns: columns, blockColumns: layout.groupSize, compute, scratch: scratch)
      try progress(0)

      let weights = try rotatedWeights()
      let compared = spread(rotated.base, rows: rows)
      var loss = CalibratedDecoder.Loss()
      loss.weights.squaredNorm = squares(weights.elements)
      loss.outputs.squaredNorm = try squaredOutputs(weights, compared)
      let packed = try Buffer<UInt8>(count: layout.byteCount)
      let bytes = plan.parts.reduce(0) { $0 + (tensors[$1.name]?.byteCount ?? 0) }
      var reported = 0
      try feedback.pack(weights.base, layout, into: packed.base, scratch: scratch) { share in
        let done = Int(Double(bytes) * share)
        try progress(done - reported)
        reported = done
      }
      loss.weights.squaredError = squares(weights.elements)
      loss.outputs.squaredError = try squaredOutputs(weights, compared)

      var output = writer.tensor(index)
      try output.append(UnsafeRawBufferPointer(packed.elements))
      try output.finish()
      return (Matrix(layout, bytes: packed.base, owner: packed), loss)
    } catch let failure as PetarError {
      throw PetarError(failure.status, "tensor \(plan.parts[0].name): \(failure.message)")
    }
  }

  private func rotateRows(_ x: UnsafeMutablePointer<Float>, count: Int) {
    compute.pool.run((count + 15) / 16) { part in
      for row in (part * 16)..<min(part * 16 + 16, count) { layout.rotate(x + row * layout.columns) }
    }
  }

  private func rotatedWeights() throws -> Buffer<Float> {
    let values = try Buffer<Float>(count: product(layout.rows, layout.columns) ?? Int.max)
    let blockRows = max((2 << 20) / layout.columns, 1)
    let reader = try RowReader(plan, tensors: tensors, blockRows: blockRows)
    for first in stride(from: 0, to: layout.rows, by: blockRows) {
      try reader.read(
        first: first, count: min(blockRows, layout.rows - first), into: values.base + first * layout.columns)
    }
    rotateRows(values.base, count: layout.rows)
    return values
  }

  private func spread(_ inputs: UnsafePointer<Float>, rows: Int) -> [Float] {
    let count = min(Self.comparedRows, rows)
    return (0..<count).flatMap { index in
      UnsafeBufferPointer(start: inputs + index * rows / count * layout.columns, count: layout.columns)
    }
  }

  /// The sum of the squares of what `weights` make of `inputs`.
  private func squaredOutputs(_ weights: Buffer<Float>, _ inputs: [Float]) throws -> Double {
    let rows = inputs.count / layout.columns
    let outputs = try Buffer<Float>(count: rows * layout.rows)
    try inputs.withUnsafeBufferPointer { inputs in
      guard let base = inputs.baseAddress else { return }
      try MatrixProduct(compute, rows: rows, columns: layout.rows, depth: layout.columns).run(
        Factor(base, stride: layout.columns), Factor(weights.base, stride: layout.columns, transposed: true),
        into: outputs.base, stride: layout.rows, scratch: scratch)
    }
    return squares(outputs.elements)
  }

  private func squares(_ values: UnsafeMutableBufferPointer<Float>) -> Double {
    values.reduce(0.0) { $0 + Double($1) * Double($1) }
  }
}
