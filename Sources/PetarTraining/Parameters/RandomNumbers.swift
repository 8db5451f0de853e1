/// splitmix64 (Steele, Lea and Flood 2014): the same numbers on every machine, from a seed.
package struct RandomNumbers: Sendable {
  package private(set) var state: UInt64

  package init(seed: UInt64) { state = seed }

  package mutating func next() -> UInt64 {
    state &+= 0x9e37_79b9_7f4a_7c15
    var z = state
    z = (z ^ (z >> 30)) &* 0xbf58_476d_1ce4_e5b9
    z = (z ^ (z >> 27)) &* 0x94d0_49bb_1331_11eb
    return z ^ (z >> 31)
  }

  /// In [-1, 1), in steps of 2^-23.
  package mutating func uniform() -> Float { Float(next() >> 40) / 0x1p23 - 1 }
}
