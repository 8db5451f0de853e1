import Petar

/// Repeatable numbers.
struct Noise {
  private var random: SplitMix64

  init(_ seed: UInt64) { random = SplitMix64(seed: seed) }

  mutating func bits() -> UInt64 { random.next() }

  /// Uniform in [-1, 1).
  mutating func value() -> Float { Float(Int64(bitPattern: bits()) >> 40) / 0x1p23 }

  mutating func values(_ count: Int, scale: Float = 1) -> [Float] { (0..<count).map { _ in value() * scale } }
}

/// Numbers that bring out what goes wrong.
enum Numbers: String, CaseIterable {
  case ordinary
  case zeros
  /// All of the largest magnitude, with either sign: what int8 sums are largest for.
  case allLargest
  case denormal
  case huge
  /// Many magnitudes in one row, zeros among them.
  case mixed

  func make(_ count: Int, seed: UInt64) -> [Float] {
    var noise = Noise(seed)
    return (0..<count).map { _ in
      let value = noise.value()
      switch self {
      case .ordinary: return value
      case .zeros: return 0
      case .allLargest: return value < 0 ? -3 : 3
      case .denormal: return value * 0x1p-130
      case .huge: return value * 0x1p60
      case .mixed:
        let exponent = Int(noise.bits() % 40) - 30
        return exponent > 8 ? 0 : Float(sign: .plus, exponent: exponent, significand: value)
      }
    }
  }
}

/// A thread pool and kernels for a test.
func compute(_ name: String? = "scalar", threads: Int = 1) throws -> Compute {
  Compute(try InstructionSet(named: name), pool: try ThreadPool(threads: threads))
}

let instructionSets = InstructionSet.available.map(\.name)

func bits(_ values: some Sequence<Float>) -> [UInt32] { values.map(\.bitPattern) }

extension Compute {
  /// `linear` over arrays.
  func linear(
    _ x: [Float], rows: Int, after prelude: RowPrelude? = nil, _ w: Matrix, bias: [Float]? = nil,
    onto out: [Float]? = nil, _ epilogue: Epilogue = .store
  ) throws -> [Float] {
    var result = out ?? [Float](repeating: .nan, count: rows * w.rows)
    try result.withUnsafeMutableBufferPointer { result in
      guard let base = result.baseAddress else { return }
      try linear(x, rows: rows, after: prelude, w, bias: bias, into: base, epilogue, scratch: Scratch())
    }
    return result
  }
}

/// A matrix of its own for a test; f32 and f16 have no groups, those of q4 are as wide as a multiple of 64 columns.
func matrix(_ values: [Float], _ encoding: Encoding, rows: Int, columns: Int, groupSize: Int = 32) throws -> Matrix {
  let group =
    switch encoding {
    case .f32, .f16: 0
    case .q8: groupSize
    case .q4: (groupSize + 63) / 64 * 64
    }
  return try Matrix(packing: values, MatrixLayout(encoding, rows: rows, columns: columns, groupSize: group))
}
