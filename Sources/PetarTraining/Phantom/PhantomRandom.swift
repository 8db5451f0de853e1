import Petar

/// Random numbers of the phantoms.
///
/// Each exam, organ group and slice has a stream of its own, named by keys, so that no result depends on the order in
/// which threads work.
struct PhantomRandom: Sendable {
  private var random: SplitMix64

  init(_ keys: UInt64...) {
    var state: UInt64 = 0x5045_5441_5250_4853
    for key in keys {
      var mixed = SplitMix64(seed: state ^ (key &* 0x9E37_79B9_7F4A_7C15))
      state = mixed.next()
    }
    random = SplitMix64(seed: state)
  }

  mutating func next() -> UInt64 { random.next() }

  /// Evenly in `range`.
  mutating func uniform(_ range: ClosedRange<Float>) -> Float {
    let unit = Float(next() >> 40) * 0x1p-24
    return range.lowerBound + (range.upperBound - range.lowerBound) * unit
  }

  mutating func chance(_ probability: Float) -> Bool { uniform(0...1) < probability }

  /// 0..<count.
  mutating func below(_ count: Int) -> Int { Int(next() % UInt64(max(count, 1))) }

  mutating func pick<T>(_ values: [T]) -> T { values[below(values.count)] }

  /// Mean 0, variance 1: the sum of four 16-bit uniforms. Its tails end at 3.5, which blurring hides.
  mutating func normal() -> Float {
    let bits = next()
    let sum = (bits & 0xFFFF) &+ (bits >> 16 & 0xFFFF) &+ (bits >> 32 & 0xFFFF) &+ (bits >> 48)
    return (Float(sum) - 131_070) * (1 / 37_837.2)
  }

  /// Evenly in a ball of radius 1.
  mutating func inBall() -> Point {
    for _ in 0..<32 {
      let point = Point(uniform(-1...1), uniform(-1...1), uniform(-1...1))
      if (point * point).sum() <= 1 { return point }
    }
    return .zero
  }
}
