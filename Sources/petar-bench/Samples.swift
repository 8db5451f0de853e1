import Petar

/// Measurements of one thing.
struct Samples {
  private(set) var values: [Double] = []

  init(_ values: [Double] = []) { self.values = values }

  mutating func append(_ value: Double) { values.append(value) }

  /// The middle one, or the mean of the middle two; NaN without any.
  var median: Double {
    let sorted = values.sorted()
    guard let middle = sorted.dropFirst(sorted.count / 2).first else { return .nan }
    return sorted.count % 2 == 1 ? middle : (middle + sorted[sorted.count / 2 - 1]) / 2
  }
  var least: Double { values.min() ?? .nan }
  var greatest: Double { values.max() ?? .nan }

  /// `name`, `name_min`, `name_max`.
  func members(_ name: String) -> [(String, JSON)] {
    [(name, .number(median)), (name + "_min", .number(least)), (name + "_max", .number(greatest))]
  }
}
