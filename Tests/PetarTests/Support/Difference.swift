/// The larger of a difference found so far and another; infinity where that is NaN, which `max` would drop.
func larger<T: FloatingPoint>(_ found: T, _ difference: T) -> T {
  difference.isNaN ? .infinity : max(found, difference)
}
