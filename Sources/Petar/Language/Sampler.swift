import CPetar
import Glibc

/// Chooses the next token from logits: the largest one, or nucleus sampling (Holtzman et al. 2020) with a seed.
package struct Sampler {
  /// 0 for greedy.
  package let temperature: Float
  package let topP: Float
  private var random: SplitMix64
  /// Kept from token to token, so that only the first one allocates.
  private var candidates: Buffer<Candidate>?

  package init(temperature: Float, topP: Float, seed: UInt64) {
    self.temperature = temperature
    self.topP = topP
    random = SplitMix64(seed: seed)
  }

  /// - Throws: `PETAR_ERROR_NOT_FINITE` when a logit is NaN or infinite, `PETAR_ERROR_OUT_OF_MEMORY`.
  package mutating func next(_ logits: UnsafeBufferPointer<Float>) throws -> Int32 {
    try requireFinite(logits)
    var best = 0
    for (index, logit) in logits.enumerated() where logit > logits[best] { best = index }
    if temperature == 0 { return Int32(best) }
    return sample(logits, largest: logits[best], try room(for: logits.count))
  }

  private mutating func room(for count: Int) throws -> Buffer<Candidate> {
    if let candidates, candidates.count == count { return candidates }
    let fresh = try Buffer<Candidate>(count: count)
    candidates = fresh
    return fresh
  }

  private mutating func sample(
    _ logits: UnsafeBufferPointer<Float>, largest: Float, _ room: Buffer<Candidate>
  ) -> Int32 {
    var total = 0.0
    for (id, logit) in logits.enumerated() {
      let weight = exp(Double(logit - largest) / Double(temperature))
      room.base[id] = Candidate(id: Int32(id), weight: weight)
      total += weight
    }
    var ranking = Ranking(room.elements)
    // The nucleus: the fewest most probable tokens that hold topP of the probability.
    var (nucleus, size) = (total, room.count)
    if topP < 1 {
      (nucleus, size) = (0, 0)
      while size < room.count, size == 0 || nucleus < Double(topP) * total {
        nucleus += ranking[size].weight
        size += 1
      }
    }
    var draw = uniform() * nucleus
    for rank in 0..<size {
      draw -= ranking[rank].weight
      if draw < 0 { return ranking[rank].id }
    }
    return ranking[size - 1].id
  }

  /// The upper 53 bits of a random number, as one in [0, 1).
  private mutating func uniform() -> Double { Double(random.next() >> 11) * 0x1p-53 }
}

/// A token and its probability, but for a factor that all share.
private struct Candidate {
  let id: Int32
  let weight: Double

  func precedes(_ other: Candidate) -> Bool { weight != other.weight ? weight > other.weight : id < other.id }
}

/// Candidates from the most probable on. They are put in order in place, and no further than is asked for: few are.
private struct Ranking {
  /// A heap, its root the first of those not ranked yet, and behind it those that are, backwards.
  private let candidates: UnsafeMutableBufferPointer<Candidate>
  private var heaped: Int

  init(_ candidates: UnsafeMutableBufferPointer<Candidate>) {
    self.candidates = candidates
    heaped = candidates.count
    for place in (0..<heaped / 2).reversed() { sink(from: place) }
  }

  /// - Parameter rank: below the number of candidates.
  subscript(rank: Int) -> Candidate {
    mutating get {
      let place = candidates.count - 1 - rank
      while heaped > place {
        heaped -= 1
        candidates.swapAt(0, heaped)
        sink(from: 0)
      }
      return candidates[place]
    }
  }

  private func sink(from place: Int) {
    var place = place
    while 2 * place + 1 < heaped {
      var child = 2 * place + 1
      if child + 1 < heaped, candidates[child + 1].precedes(candidates[child]) { child += 1 }
      guard candidates[child].precedes(candidates[place]) else { return }
      candidates.swapAt(place, child)
      place = child
    }
  }
}

/// - Throws: `PETAR_ERROR_NOT_FINITE`.
func requireFinite(_ values: UnsafeBufferPointer<Float>) throws {
  guard values.allSatisfy(\.isFinite) else {
    throw PetarError(
      PETAR_ERROR_NOT_FINITE,
      "the network produced a value that is not a number; the model file is damaged: check it with "
        + "`petar-convert verify`")
  }
}
