import Petar

/// A part of the work with its times and, run by run, what the machine would have needed at its limit.
struct Stage {
  let name: String
  /// Seconds.
  private(set) var times = Samples()
  /// Seconds at the limit, measured around each run; empty where there is no limit.
  private(set) var limits = Samples()
  /// Tokens or positions in one run; nil where a rate means nothing.
  let tokens: Int?

  init(_ name: String, tokens: Int? = nil) {
    self.name = name
    self.tokens = tokens
  }

  mutating func append(_ seconds: Double, limit: Double? = nil) {
    times.append(seconds)
    if let limit { limits.append(limit) }
  }

  /// The share of the limit that was reached, run by run: 1 is the limit. nil where there is none.
  var fraction: Samples? {
    guard !limits.values.isEmpty else { return nil }
    return Samples(zip(times.values, limits.values).map { $1 / $0 })
  }

  var json: JSON {
    var members: [(String, JSON)] = [("name", .string(name)), ("runs", .integer(times.values.count))]
    members += times.members("seconds")
    if let fraction {
      members.append(("limit_seconds", .number(limits.median)))
      members += fraction.members("fraction_of_limit")
    }
    if let tokens { members.append(("tokens_per_second", .number(Double(tokens) / times.median))) }
    return .object(members)
  }
}
