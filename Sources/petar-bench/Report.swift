import Petar
import PetarConsole

/// Everything that was measured, for people and for machines.
struct Report {
  /// A limit of the machine at 1...N threads, in operations or bytes a second.
  struct Scaling {
    let limit: Machine.Limit
    let rates: [Samples]
  }

  let model: Model
  let threads: Int
  let repeats: Int
  let machine: [Scaling]
  let peak: Machine.Limit
  let run: LesionRun
  let steps: StepRun
  let drafts: DraftRun?
  let load: Stage
  /// Without the probes' own memory.
  let peakResidentBytes: Int

  private var stages: [Stage] { [load] + run.stages + steps.stages + (drafts.map { [$0.plain, $0.drafted] } ?? []) }

  var json: JSON {
    .object([
      ("library", Library.description),
      (
        "configuration",
        .object([
          ("processor", .string(System.processor)), ("processors", .integer(ThreadPool.processors)),
          ("instruction_set", .string(model.instructionSet.name)), ("threads", .integer(threads)),
          ("repeats", .integer(repeats)), ("positions", .integer(run.positions)), ("tokens", .integer(run.maxTokens)),
          ("model", .string(model.description.name)), ("model_hash", .string(model.file.hash)),
          ("weights", .string(model.file.weightsType)), ("file_bytes", .integer(model.file.byteCount)),
        ])
      ),
      ("machine", .object(machine.map { ($0.limit.key, .array($0.rates.enumerated().map(scalingJSON))) })),
      (
        "limits_between_stages",
        .object(
          [("compute", .string(peak.key))] + run.computeProbes.members("compute_per_second")
            + run.readProbes.members("read_bytes_per_second"))
      ),
      ("stages", .array(stages.map(\.json))),
      (
        "drafts",
        drafts.map {
          .object([("tokens", .integer($0.tokens)), ("decoder_passes", .integer($0.passes))] + $0.gain.members("gain"))
        } ?? .null
      ),
      (
        "memory",
        .object([
          ("peak_resident_bytes", .integer(peakResidentBytes)),
          ("above_file_bytes", .integer(peakResidentBytes - model.file.byteCount)),
        ])
      ),
    ])
  }

  private func scalingJSON(_ index: Int, _ rates: Samples) -> JSON {
    .object([("threads", .integer(index + 1))] + rates.members("per_second"))
  }

  var text: String {
    var lines = [
      "petar-bench \(Library.version): \(System.processor), \(model.instructionSet.name), "
        + "\(threads) of \(ThreadPool.processors) processors",
      "\(model.description.name), \(model.file.weightsType), \(model.file.byteCount) bytes, "
        + "hash \(model.file.hash.prefix(16)), \(repeats) runs",
      "", "machine".padded(26) + (1...threads).map { "\($0) thr".padded(-10) }.joined(),
    ]
    for scaling in machine {
      lines.append(
        scaling.limit.title.padded(26)
          + scaling.rates.map { decimal($0.median / 1e9, digits: 1).padded(-10) }.joined())
    }
    lines += [
      "",
      "between stages: \(peak.title) \(span(run.computeProbes, 1e-9)), "
        + "\(Machine.Limit.read.title) \(span(run.readProbes, 1e-9))",
      "",
      "stage".padded(26) + "ms".padded(-10) + "least".padded(-10) + "greatest".padded(-10) + "limit".padded(-10)
        + "of limit".padded(-10) + "tokens/s".padded(-10),
    ]
    for stage in stages {
      let times = [stage.times.median, stage.times.least, stage.times.greatest]
      var line = stage.name.padded(26) + times.map { decimal($0 * 1e3, digits: 1).padded(-10) }.joined()
      if let fraction = stage.fraction {
        line += decimal(stage.limits.median * 1e3, digits: 1).padded(-10)
        line += (decimal(fraction.median * 100, digits: 1) + " %").padded(-10)
      }
      if let tokens = stage.tokens { line += decimal(Double(tokens) / stage.times.median, digits: 2).padded(-10) }
      lines.append(line)
    }
    if let drafts {
      lines += [
        "",
        "drafts: \(drafts.tokens) tokens in \(drafts.passes) readings, "
          + "\(decimal(Double(drafts.tokens) / Double(drafts.passes), digits: 2)) each; "
          + "\(span(drafts.gain, 1)) times as fast, finding by finding",
      ]
    }
    lines += [
      "",
      "peak resident memory: \(peakResidentBytes >> 20) MiB, "
        + "\((peakResidentBytes - model.file.byteCount) / (1 << 20)) MiB above the file's size",
    ]
    return lines.joined(separator: "\n")
  }

  /// "921.3 (915.0...930.2)"
  private func span(_ samples: Samples, _ scale: Double) -> String {
    let parts = [samples.median, samples.least, samples.greatest].map { decimal($0 * scale, digits: 1) }
    return "\(parts[0]) (\(parts[1])...\(parts[2]))"
  }
}

extension Machine.Limit {
  var title: String {
    switch self {
    case .read: "read, GB/s"
    case .int8: "int8 dot product, GOP/s"
    case .f32: "f32 FMA, GFLOP/s"
    case .bf16: "bf16 dot product, GFLOP/s"
    }
  }

  /// Its name in JSON.
  var key: String {
    switch self {
    case .read: "read_bytes"
    case .int8: "int8_operations"
    case .f32: "f32_operations"
    case .bf16: "bf16_operations"
    }
  }
}
