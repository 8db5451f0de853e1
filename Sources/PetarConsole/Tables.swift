extension String {
  /// Filled with spaces: on the right, or on the left for a negative width.
  package func padded(_ width: Int) -> String {
    let fill = String(repeating: " ", count: max(abs(width) - count, 0))
    return width < 0 ? fill + self : self + fill
  }
}

/// With so many digits, one or more, behind the point; - for what is no number or has more than 12 before it.
package func decimal(_ value: Double, digits: Int) -> String {
  guard value.isFinite, abs(value) < 1e12 else { return "-" }
  var (power, scaled) = (1, value)
  for _ in 0..<digits {
    power *= 10
    scaled *= 10
  }
  let whole = Int(scaled.rounded().magnitude)
  let fraction = String(whole % power)
  let zeros = String(repeating: "0", count: digits - fraction.count)
  return (scaled.rounded() < 0 ? "-" : "") + "\(whole / power).\(zeros)\(fraction)"
}
