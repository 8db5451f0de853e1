import CPetar
import Petar
import Synchronization

/// Makes a .petar file of a shape's sizes with random weights: what a model of that size costs can be measured without
/// having one.
///
/// Matrices, biases and positions are roughly normal with a standard deviation of 0.02; norms are 1 and 0. The file
/// depends on shape, encoding and seed alone. Nothing but blocks of rows is held in memory.
/// - Parameter progress: called with the values done and the values in all, on any thread but one at a time. What it
///   throws ends the work and is thrown on.
/// - Throws: `PETAR_ERROR_IO`, `OUT_OF_MEMORY`, and `BAD_FILE` for a description that no model can have.
package func synthesize(
  _ shape: SynthesisShape, output: String, weights: Encoding, seed: UInt64, threads: Int = 2,
  progress: @escaping @Sendable (_ done: Int, _ total: Int) throws -> Void = { _, _ in }
) throws {
  var description = shape.description
  guard description.decoder.vocabulary >= 512 else {
    throw PetarError(
      PETAR_ERROR_BAD_FILE, "\(shape.name): a vocabulary of \(description.decoder.vocabulary) has no room for words")
  }
  let tokenizer = SynthesisTokenizer(vocabulary: description.decoder.vocabulary)
  description.name = shape.name
  description.prompt.imageToken = tokenizer.imageToken
  description.prompt.endOfText = [tokenizer.endOfText]
  description.provenance.source = "synthetic, seed \(seed)"
  description.provenance.tool = "petar-convert \(Library.version)"
  description.provenance.licence = "none: random numbers"
  description.provenance.intendedUse = "For measuring speed. Not a medical device."
  description.provenance.randomWeights = true
  try description.validate(source: shape.name)

  let plans = TensorPlanner.plans(for: description, fused: true)
  let entries = try plans.map { PetarFileEntry(name: $0.name, form: try form(of: $0, weights: weights)) }
  let writer = try PetarFileWriter(path: output, tensors: entries)
  let state = Mutex<(done: Int, failure: (any Error)?)>((0, nil))
  let total = entries.reduce(0) { $0 + $1.parameterCount }
  let report = { @Sendable (values: Int) throws in
    try state.withLock { state in
      if let failure = state.failure { throw failure }
      state.done += values
      try progress(state.done, total)
    }
  }

  // The longest first, so that no thread is left alone with one at the end.
  let order = entries.indices.sorted { entries[$0].parameterCount > entries[$1].parameterCount }
  try ThreadPool(threads: threads).run(order.count) { position in
    guard state.withLock({ $0.failure == nil }) else { return }
    let index = order[position]
    do {
      try write(
        entries[index], values: RandomValues(seed: seed, stream: UInt64(index)), into: writer.tensor(index), report)
    } catch {
      state.withLock { $0.failure = $0.failure ?? error }
    }
  }
  if let failure = state.withLock({ $0.failure }) { throw failure }
  try writer.finish(
    description: description, tokenizer: tokenizer.definition, beforeRename: { try report(0) })
}

private func form(of plan: TensorPlan, weights: Encoding) throws -> PetarFileEntry.Form {
  let shapes = plan.parts.map(\.shape)
  guard plan.kind != .vector else { return .vector(count: shapes.reduce(0) { $0 + $1.reduce(1, *) }) }
  return .matrix(
    try MatrixLayout(
      weights: plan.kind.encoding(for: weights), rows: shapes.reduce(0) { $0 + $1[0] }, columns: shapes[0][1]))
}

private func write(
  _ entry: PetarFileEntry, values: RandomValues, into output: consuming PetarFileWriter.Tensor,
  _ report: (Int) throws -> Void
) throws {
  switch entry.form {
  case .vector(let count):
    let vector = try Buffer<Float>(count: count)
    let isNorm = entry.name.contains("norm")
    if isNorm {
      vector.elements.update(repeating: entry.name.hasSuffix(".weight") ? 1 : 0)
    } else {
      values.fill(vector.elements, from: 0)
    }
    try output.append(UnsafeRawBufferPointer(vector.elements))
    try report(count)
  case .matrix(let layout):
    let panelRows = MatrixLayout.panelRows
    let rows = try Buffer<Float>(count: panelRows * layout.columns)
    let packed = try Buffer<UInt8>(count: layout.panelBytes)
    for panel in 0..<layout.panels {
      let count = min(panelRows, layout.rows - panel * panelRows)
      let source = UnsafeMutableBufferPointer(rebasing: rows.elements[..<(count * layout.columns)])
      values.fill(source, from: panel * panelRows * layout.columns)
      try layout.packPanel(
        rows: rows.base, rowStride: layout.columns, rowCount: count, into: UnsafeMutableRawPointer(packed.base))
      try output.append(UnsafeRawBufferPointer(packed.elements))
      try report(count * layout.columns)
    }
  }
  try output.finish()
}

/// Numbers that depend on their place alone, so that threads and blocks change nothing.
struct RandomValues {
  private let start: UInt64

  /// - Parameter stream: one for each tensor.
  init(seed: UInt64, stream: UInt64) {
    start = Self.mix(Self.mix(seed) &+ stream)
  }

  /// The values at `index`, `index + 1` and so on: the sum of four uniform numbers, close to normal and never beyond
  /// 3.5 standard deviations, of which 0.02 is one.
  func fill(_ target: UnsafeMutableBufferPointer<Float>, from index: Int) {
    // Four 16-bit numbers have a variance of 4 (2^32 - 1) / 12 and a mean of 4 (2^16 - 1) / 2.
    let scale = 0.02 / Float(4 * (0x1p32 - 1) / 12).squareRoot()
    for position in target.indices {
      let bits = Self.mix(start &+ UInt64(truncatingIfNeeded: index &+ position) &* 0x9e37_79b9_7f4a_7c15)
      let sum = (bits & 0xffff) &+ (bits >> 16 & 0xffff) &+ (bits >> 32 & 0xffff) &+ (bits >> 48)
      target[position] = Float(Int32(truncatingIfNeeded: sum) &- 131070) * scale
    }
  }

  /// The output function of SplitMix64 (Steele, Lea, Flood 2014).
  private static func mix(_ value: UInt64) -> UInt64 {
    var z = value
    z = (z ^ z >> 30) &* 0xbf58_476d_1ce4_e5b9
    z = (z ^ z >> 27) &* 0x94d0_49bb_1331_11eb
    return z ^ z >> 31
  }
}
