import CPetar
import Glibc
import Petar
import PetarConsole
import PetarConversion

/// `petar-convert CHECKPOINT_DIR -o FILE.petar --weights TYPE`
enum ConvertCommand {
  static func run(_ words: some Sequence<String>) throws {
    let arguments = try Arguments(
      words, valued: ["-o", "--output", "--weights", "--calibrate", "--name", "--threads"], plain: [])
    let folder = try arguments.single("checkpoint folder")
    guard arguments.value("-o") == nil || arguments.value("--output") == nil else {
      throw UsageError(message: "-o and --output are the same; give one")
    }
    guard let output = arguments.value("-o") ?? arguments.value("--output") else {
      throw UsageError(
        message: isFolder(folder)
          ? "-o FILE.petar is missing" : "\(folder): there is neither a command nor a checkpoint folder of this name")
    }
    let weights = try arguments.weights()
    guard weights == .q4 || arguments.value("--calibrate") == nil else {
      throw UsageError(message: "--calibrate is for --weights q4; \(weights) needs no calibration")
    }
    let threads = try arguments.threads()

    Interrupt.watch()
    let bar = ProgressBar("converting")
    defer { bar.close() }
    let report = try convert(
      checkpoint: folder, output: output, weights: weights, calibrate: arguments.value("--calibrate"),
      name: arguments.value("--name"), threads: threads,
      progress: { done, total in
        try Interrupt.check()
        bar.show(done, total)
      })
    bar.close()
    Console.out(summary(report, weights: weights, output: output) + "\n")
  }

  private static func isFolder(_ path: String) -> Bool {
    var status = stat()
    return stat(path, &status) == 0 && status.st_mode & S_IFMT == S_IFDIR
  }

  private static func summary(_ report: ConversionReport, weights: Encoding, output: String) -> String {
    var lines: [String] = []
    if !report.ignored.isEmpty {
      lines.append("left out, takes no part in describing: \(ignoredSummary(report.ignored))")
    }
    lines.append("kind".padded(26) + "tensors".padded(-8) + "parameters".padded(-14) + "  relative RMS error")
    lines.append(
      String(repeating: " ", count: 50) + "least      mean       greatest"
        + (report.calibration == nil ? "" : "   outputs"))
    for kind in report.kinds {
      let errors = [kind.least, kind.mean, kind.greatest, kind.outputs].compactMap { $0 }
        .map { scientific($0).padded(11) }.joined()
      lines.append(
        kind.name.padded(26) + "\(kind.tensors)".padded(-8) + "\(kind.parameters)".padded(-14) + "  " + errors)
    }
    lines.append("kept as f32: \(report.exactTensors) norms, biases and positions")
    if let worst = report.worst, worst.error > 0 {
      lines.append("worst: \(worst.name), \(scientific(worst.error))")
    }
    if weights == .q4 { lines.append(calibrationSummary(report.calibration)) }
    if report.description.provenance.randomWeights {
      lines.append("THE WEIGHTS ARE RANDOM: nothing this model says means anything.")
    }
    lines.append("\(output): \(report.parameterCount) parameters, \(weights), \(report.byteCount) bytes")
    lines.append("hash \(report.hash)")
    return lines.joined(separator: "\n")
  }

  private static func calibrationSummary(_ calibration: Calibration?) -> String {
    guard let calibration else {
      return "NOT CALIBRATED: q4 weights were rounded one by one. Give findings as this model writes them, one a line, "
        + "with --calibrate or as typical_findings.txt in the checkpoint folder, to lose less."
    }
    return "calibrated with \(calibration.summary): weights are further from the checkpoint's than rounded ones, "
      + "outputs nearer"
  }

  /// Each name, but what belongs to one module only once.
  private static func ignoredSummary(_ names: [String]) -> String {
    guard names.count > 8 else { return names.joined(separator: ", ") }
    let modules = Dictionary(grouping: names) { $0.split(separator: ".").prefix(3).joined(separator: ".") }
    return modules.sorted { $0.key < $1.key }.map { "\($0.key).* (\($0.value.count) tensors)" }.joined(separator: ", ")
  }

  /// Three digits: 7.31e-03.
  private static func scientific(_ value: Double) -> String {
    guard value > 0, value.isFinite else { return "0" }
    var exponent = 0
    var mantissa = value
    while mantissa < 0.9995 {
      mantissa *= 10
      exponent -= 1
    }
    let digits = Int((mantissa * 100).rounded())
    let sign = exponent < 0 ? "-" : "+"
    return "\(digits / 100).\(digits / 10 % 10)\(digits % 10)e\(sign)" + (abs(exponent) < 10 ? "0" : "")
      + "\(abs(exponent))"
  }
}

extension Arguments {
  /// The value of `--weights`.
  func weights() throws -> Encoding { try choice("--weights", Encoding.allCases.map { ("\($0)", $0) }) }
}
