import Foundation
import Petar

extension SplitMix64 {
  /// In [-1, 1), in steps of 2^-23.
  package mutating func uniform() -> Float { Float(next() >> 40) / 0x1p23 - 1 }

  /// With mean 0 and deviation 1 (Box and Muller 1958).
  package mutating func normal() -> Float {
    // In (0, 1]: the logarithm is finite.
    let first = (Double(next() >> 11) + 1) * 0x1p-53
    let second = Double(next() >> 11) * 0x1p-53
    return Float((-2 * log(first)).squareRoot() * cos(2 * .pi * second))
  }
}
