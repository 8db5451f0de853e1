import CKernels

/// Runs `body` with the floating point environment that all results assume (round to nearest, denormals kept, no
/// traps), whatever the host has set for this thread, and gives the host its own back.
package func withDefaultFloatingPoint<Result>(_ body: () throws -> Result) rethrows -> Result {
  let saved = pk_float_default()
  defer { pk_float_restore(saved) }
  return try body()
}
