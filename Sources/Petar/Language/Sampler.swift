import CPetar
import Glibc

/// Chooses the next token from logits: the largest one, or nucleus sampling (Holtzman et al. 2020) with a seed.
package struct Sampler {
  /// 0 for greedy.
  package let temperature: Float
  package let topP: Float
  private var random: SplitMix64

  package init(temperature: Float, topP: Float, seed: UInt64) {
    self.temperature = temperature
    self.topP = topP
    random = SplitMix64(seed: seed)
  }

  /// - Throws: `PETAR_ERROR_NOT_FINITE` when a logit is NaN or infinite.
  package mutating func next(_ logits: UnsafeBufferPointer<Float>) throws -> Int32 {
    var best = 0
    for (index, logit) in logits.enumerated() {
      guard logit.isFinite else {
        throw PetarError(
          PETAR_ERROR_NOT_FINITE,
          "the network produced a value that is not a number (logit of token \(index)); the model file is damaged: "
            + "check it with `petar-convert verify`")
      }
      if logit > logits[best] { best = index }
    }
    if temperature == 0 { return Int32(best) }
    return sample(logits, largest: logits[best])
  }

  private mutating func sample(_ logits: UnsafeBufferPointer<Float>, largest: Float) -> Int32 {
    var candidates = logits.enumerated().map { (id: $0, weight: exp(Double($1 - largest) / Double(temperature))) }
    candidates.sort { $0.weight != $1.weight ? $0.weight > $1.weight : $0.id < $1.id }
    let total = candidates.reduce(0) { $0 + $1.weight }
    // The nucleus: the fewest most probable tokens that hold topP of the probability.
    var nucleus = 0.0
    var size = 0
    while size < candidates.count, size == 0 || nucleus < Double(topP) * total {
      nucleus += candidates[size].weight
      size += 1
    }
    var draw = uniform() * nucleus
    for candidate in candidates.prefix(size) {
      draw -= candidate.weight
      if draw < 0 { return Int32(candidate.id) }
    }
    return Int32(candidates[size - 1].id)
  }

  /// The upper 53 bits of a random number, as one in [0, 1).
  private mutating func uniform() -> Double { Double(random.next() >> 11) * 0x1p-53 }
}
