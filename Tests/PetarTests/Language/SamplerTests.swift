import CPetar
import Glibc
import Petar
import Testing

@Suite("Sampler") struct SamplerTests {
  private func next(_ sampler: inout Sampler, _ logits: [Float]) throws -> Int32 {
    try logits.withUnsafeBufferPointer { try sampler.next($0) }
  }

  @Test func greedyTakesTheLargestAndTheFirstOfEquals() throws {
    var sampler = Sampler(temperature: 0, topP: 1, seed: 0)
    #expect(try next(&sampler, [-1, 3, 2]) == 1)
    #expect(try next(&sampler, [5, 5, 5]) == 0)
  }

  @Test(arguments: [Float.nan, .infinity, -.infinity])
  func aLogitThatIsNotFiniteIsAnError(_ value: Float) {
    for temperature in [Float(0), 1] {
      var sampler = Sampler(temperature: temperature, topP: 1, seed: 0)
      let error = #expect(throws: PetarError.self) { try next(&sampler, [0, value, 1]) }
      #expect(error?.status == PETAR_ERROR_NOT_FINITE)
    }
  }

  @Test func aSmallNucleusIsGreedy() throws {
    var sampler = Sampler(temperature: 1, topP: 1e-6, seed: 7)
    for _ in 0..<100 { #expect(try next(&sampler, [0, 1, 0.9]) == 1) }
  }

  @Test func aSeedRepeatsItsDraws() throws {
    var (one, two, other) = (
      Sampler(temperature: 1, topP: 1, seed: 3), Sampler(temperature: 1, topP: 1, seed: 3),
      Sampler(temperature: 1, topP: 1, seed: 4)
    )
    let logits = [Float](repeating: 0, count: 1000)
    let draws = try (0..<50).map { _ in try next(&one, logits) }
    #expect(try draws == (0..<50).map { _ in try next(&two, logits) })
    #expect(try draws != (0..<50).map { _ in try next(&other, logits) })
  }

  /// Against all tokens sorted: the most probable first, of equals the one with the smaller id. Rounded logits have
  /// many equals.
  @Test(arguments: [Float(0.2), 0.9, 0.999, 1], [false, true])
  func drawsAreThoseFromSortedTokens(topP: Float, rounded: Bool) throws {
    let temperature: Float = 0.7
    var (sampler, random, noise) = (
      Sampler(temperature: temperature, topP: topP, seed: 11), SplitMix64(seed: 11), Noise(5)
    )
    var drawn: Set<Int32> = []
    for _ in 0..<100 {
      var logits = noise.values(900, scale: 6)
      if rounded { logits = logits.map { $0.rounded() } }
      let largest = try #require(logits.max())
      let weights = logits.map { exp(Double($0 - largest) / Double(temperature)) }
      let order = logits.indices.sorted { weights[$0] != weights[$1] ? weights[$0] > weights[$1] : $0 < $1 }
      let least = Double(topP) * weights.reduce(0, +)
      var (nucleus, size) = (0.0, 0)
      while size < order.count, size == 0 || nucleus < least {
        nucleus += weights[order[size]]
        size += 1
      }
      var draw = Double(random.next() >> 11) * 0x1p-53 * nucleus
      let expected = order.prefix(size).first {
        draw -= weights[$0]
        return draw < 0
      }
      let token = try next(&sampler, logits)
      #expect(Int(token) == expected)
      drawn.insert(token)
    }
    #expect(drawn.count > 50)
  }

  /// 20,000 draws: a share's standard deviation is at most 0.0036, so 0.015 is more than four of them.
  @Test func drawsFollowTheSoftmaxWithinTheNucleus() throws {
    let logits: [Float] = [2, 1, 0, -1]
    let weights = logits.map { exp(Double($0) / 2) }
    // Temperature 2; the nucleus of 0.7 holds the first two (0.46 + 0.28).
    var (free, nucleus) = (Sampler(temperature: 2, topP: 1, seed: 1), Sampler(temperature: 2, topP: 0.7, seed: 1))
    var (freeCounts, nucleusCounts) = ([Int](repeating: 0, count: 4), [Int](repeating: 0, count: 4))
    for _ in 0..<20_000 {
      freeCounts[Int(try next(&free, logits))] += 1
      nucleusCounts[Int(try next(&nucleus, logits))] += 1
    }
    let total = weights.reduce(0, +)
    for index in 0..<4 { #expect(abs(Double(freeCounts[index]) / 20_000 - weights[index] / total) < 0.015) }
    #expect(nucleusCounts[2] == 0 && nucleusCounts[3] == 0)
    #expect(abs(Double(nucleusCounts[0]) / 20_000 - weights[0] / (weights[0] + weights[1])) < 0.015)
  }
}
