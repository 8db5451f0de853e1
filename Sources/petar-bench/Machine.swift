import CPetar
import CProbes
import Glibc
import Petar

/// What the machine does at most, measured whenever it is asked.
final class Machine {
  enum Limit: String, CaseIterable {
    /// Sustained reading from memory, bytes a second.
    case read
    /// Operations a second; a multiplication and an addition are two.
    case int8, f32, bf16
  }

  /// More than any cache holds; all of it stays in memory from start to end.
  static let bufferBytes = 5 << 28
  private static let partBytes = 64 << 20
  /// Seconds that a part of a computing probe takes.
  private static let partSeconds = 0.004

  private let probes: pb_probes
  private let buffer: UnsafeMutableRawPointer
  /// Memory streams that a thread reads side by side: what was fastest here.
  private let streams: Int

  /// - Parameter instructionSet: whose peak is measured; for a set that has no probe of its own, the best there is.
  init(instructionSet: String, pool: ThreadPool) throws {
    var available: [pb_probes] = []
    while let next = pb_probes_available(available.count) { available.append(next.pointee) }
    guard let probes = available.first(where: { String(cString: $0.name) == instructionSet }) ?? available.first else {
      throw PetarError(PETAR_ERROR_INTERNAL, "there are no probes for this processor")
    }
    guard let buffer = pb_memory(Self.bufferBytes) else {
      throw PetarError(PETAR_ERROR_OUT_OF_MEMORY, "out of memory: \(Self.bufferBytes >> 20) MiB are needed to read")
    }
    self.probes = probes
    self.buffer = buffer
    let rates = [1, 2, 4, 8, 16].map { ($0, Self.bandwidth(probes, buffer, streams: $0, pool)) }
    streams = rates.max { $0.1 < $1.1 }?.0 ?? 1
  }

  deinit { pb_memory_free(buffer, Self.bufferBytes) }

  /// The rate a second now, the median of three short runs; nil if the instruction set has no such operation.
  func measure(_ limit: Limit, on pool: ThreadPool) -> Double? {
    switch limit {
    case .read: Self.bandwidth(probes, buffer, streams: streams, pool)
    case .int8: rate(probes.int8, probes.int8_operations, pool)
    case .f32: rate(probes.f32, probes.f32_operations, pool)
    case .bf16: rate(probes.bf16, probes.bf16_operations, pool)
    }
  }

  private static func bandwidth(
    _ probes: pb_probes, _ buffer: UnsafeMutableRawPointer, streams: Int, _ pool: ThreadPool
  ) -> Double {
    let base = UInt(bitPattern: buffer)
    let parts = bufferBytes / partBytes
    return medianOfThree {
      pool.run(parts) { part in
        _ = probes.read?(UnsafeRawPointer(bitPattern: base + UInt(part * partBytes)), partBytes, streams)
      }
      return Double(bufferBytes)
    }
  }

  private func rate(
    _ probe: (@convention(c) (Int) -> UInt64)?, _ operations: Int, _ pool: ThreadPool
  ) -> Double? {
    guard let probe else { return nil }
    var rounds = 1 << 14
    var clock = Stopwatch()
    _ = probe(rounds)
    rounds = max(Int(Double(rounds) * Self.partSeconds / max(clock.seconds, 1e-6)), 1)
    clock = Stopwatch()
    // Short parts, so that no thread waits long for the last one.
    let parts = pool.threads * 8
    return Self.medianOfThree {
      pool.run(parts) { _ in _ = probe(rounds) }
      return Double(parts * rounds * operations)
    }
  }

  /// - Parameter body: does some work and returns how much.
  private static func medianOfThree(_ body: () -> Double) -> Double {
    var rates = Samples()
    for _ in 0..<3 {
      let clock = Stopwatch()
      let work = body()
      rates.append(work / clock.seconds)
    }
    return rates.median
  }
}

/// What the system says of itself.
enum System {
  /// "AMD EPYC 9354", or the architecture where the system does not tell.
  static var processor: String {
    for key in ["model name", "Model", "Hardware"] {
      if let name = value(of: key, in: "/proc/cpuinfo") { return name }
    }
    #if arch(arm64)
      return "arm64"
    #else
      return "unknown"
    #endif
  }

  /// The most memory the process ever had resident, in bytes, mapped files included.
  static var peakResidentBytes: Int {
    let text = value(of: "VmHWM", in: "/proc/self/status") ?? ""
    return (text.split(separator: " ").first.flatMap { Int($0) } ?? 0) << 10
  }

  /// What follows "key:" in the first line that starts so.
  private static func value(of key: String, in path: String) -> String? {
    guard let file = fopen(path, "r") else { return nil }
    defer { fclose(file) }
    var line: UnsafeMutablePointer<CChar>?
    var capacity = 0
    defer { free(line) }
    while getline(&line, &capacity, file) > 0, let text = line.map({ String(cString: $0) }) {
      let parts = text.split(separator: ":", maxSplits: 1)
      guard parts.count == 2, trimmed(parts[0]) == key else { continue }
      return trimmed(parts[1])
    }
    return nil
  }

  private static func trimmed(_ text: Substring) -> String {
    String(text.drop { $0.isWhitespace }.reversed().drop { $0.isWhitespace }.reversed())
  }
}
