import Petar

/// What a conversion made, and what it cost.
package struct ConversionReport: Sendable {
  /// The errors of the matrices of one kind: relative RMS, ||w - packed|| / ||w||.
  package struct Kind: Sendable {
    package let name: String
    package let tensors: Int
    package let parameters: Int
    package let least: Double
    package let mean: Double
    package let greatest: Double
    /// The mean relative RMS error of the outputs on calibration texts; nil for kinds that were rounded without any.
    package let outputs: Double?
  }

  package let description: ModelDescription
  /// The hash of the file that was written.
  package let hash: String
  package let byteCount: Int
  package let parameterCount: Int
  package let kinds: [Kind]
  /// Values kept exactly: norms, biases, positions.
  package let exactTensors: Int
  /// The matrix that lost most.
  package let worst: (name: String, error: Double)?
  /// What q4 weights were calibrated with.
  package let calibration: Calibration?
  /// Checkpoint tensors that take no part and were left out.
  package let ignored: [String]

  init(
    file: PetarFile, plans: [TensorPlan], errors: [PackingError?], outputErrors: [Int: PackingError],
    calibration: Calibration?, ignored: [String]
  ) {
    description = file.description
    hash = file.hash
    byteCount = file.byteCount
    parameterCount = file.parameterCount
    self.ignored = ignored
    self.calibration = calibration

    var kinds: [Kind] = []
    for kind in TensorKind.allCases where kind != .vector {
      let members = plans.indices.filter { plans[$0].kind == kind }
      let values = members.compactMap { errors[$0]?.relative }
      guard let least = values.min(), let greatest = values.max() else { continue }
      let outputs = members.compactMap { outputErrors[$0]?.relative }
      kinds.append(
        Kind(
          name: kind.rawValue, tensors: members.count,
          parameters: members.reduce(0) { $0 + file.entries[$1].parameterCount }, least: least,
          mean: values.reduce(0, +) / Double(values.count), greatest: greatest,
          outputs: outputs.isEmpty ? nil : outputs.reduce(0, +) / Double(outputs.count)))
    }
    self.kinds = kinds
    exactTensors = plans.filter { $0.kind == .vector }.count
    let ranked = plans.indices.compactMap { index in errors[index].map { (plans[index].name, $0.relative) } }
    worst = ranked.max { $0.1 < $1.1 }.map { (name: $0.0, error: $0.1) }
  }
}
