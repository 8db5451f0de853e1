import Glibc

/// How many of a number of answers are right.
package struct Proportion: Sendable, Equatable {
  /// A fraction where an answer counts as partly right.
  package var right: Double
  package var count: Int

  package init(right: Double = 0, count: Int = 0) {
    self.right = right
    self.count = count
  }

  package mutating func add(_ right: Bool) { add(right ? 1 : 0) }

  package mutating func add(_ share: Double) {
    right += share
    count += 1
  }

  /// nil where there is no answer.
  package var share: Double? { count > 0 ? right / Double(count) : nil }

  /// Wilson's score interval at 95 %, without continuity correction (J. Am. Stat. Assoc. 22, 1927).
  ///
  /// It takes answers for independent. Those about one exam are not quite, so that the true interval is a little wider.
  package var interval: ClosedRange<Double>? {
    guard let share else { return nil }
    let z = 1.959963984540054
    let n = Double(count)
    let centre = share + z * z / (2 * n)
    let reach = z * sqrt(share * (1 - share) / n + z * z / (4 * n * n))
    let scale = 1 + z * z / n
    // Rounding must not push an end past 0 or 1, nor past the share.
    return min(max((centre - reach) / scale, 0), share)...max(min((centre + reach) / scale, 1), share)
  }
}
