/// How training varies what is shown of an exam; `none` is what inference shows.
///
/// PETAR-4B (section 3): middle and side of the focal crop get independent U(-0.2 r, 0.2 r) for a cube of side r, with
/// the mask kept wholly inside; the released code lets the global view's reach vary by 15 slices. The focal box of
/// inference is the released one, which is no cube, so r is its side along each axis. Nothing is ever mirrored: right
/// and left mean something.
package struct ViewJitter: Sendable, Equatable {
  /// How far the middle of the focal box moves, in sides of it.
  package var focalShift: SIMD3<Double> = .zero
  /// What the sides of the focal box grow by, in sides.
  package var focalGrowth: SIMD3<Double> = .zero
  /// Slices the global view reaches further, on either side of the lesion's middle.
  package var globalReach = 0

  package static let none = ViewJitter()
  package static let largestShare = 0.2
  package static let largestReach = 15

  private init() {}

  package init(_ random: inout SplitMix64) {
    func share() -> Double { Self.largestShare * (2 * Double(random.next() >> 11) * 0x1p-53 - 1) }
    focalShift = SIMD3(share(), share(), share())
    focalGrowth = SIMD3(share(), share(), share())
    globalReach = Int(random.next() % UInt64(2 * Self.largestReach + 1)) - Self.largestReach
  }

  /// The box around `lesion` that the focal view shows, as far as `shape` goes.
  func focalBox(around lesion: Box, within shape: SIMD3<Int>) -> Box {
    guard self != .none else { return lesion.grown(by: Released.focalMargin, within: shape) }
    let side = SIMD3<Double>(lesion.shape &+ 2 * Released.focalMargin)
    let middle = SIMD3<Double>(lesion.lower &+ lesion.upper) / 2 + focalShift * side
    let half = (side * (1 + focalGrowth) - 1) / 2
    let lower = SIMD3<Int>((middle - half).rounded(.toNearestOrEven))
    let upper = SIMD3<Int>((middle + half).rounded(.toNearestOrEven))
    return Box(
      lower: pointwiseMax(pointwiseMin(lower, lesion.lower), .zero),
      upper: pointwiseMin(pointwiseMax(upper, lesion.upper), shape &- 1))
  }
}
