import Petar

/// An ingredient of the method that a model is trained or evaluated without, for ablations.
package enum OmittedInput: String, CaseIterable, Sendable {
  /// The lesion is not marked: zeros.
  case mask
  /// Zeros, which is -300 HU and less.
  case ct
  /// The focal view shows what the global one does.
  case focal

  /// - Throws: `PETAR_ERROR_OUT_OF_MEMORY`.
  package static func apply(_ omitted: Set<OmittedInput>, to views: Views) throws -> Views {
    guard !omitted.isEmpty else { return views }
    let zeros = try Buffer<Float>(count: views.extent.count)
    func remaining(_ arrays: Views.Arrays) -> Views.Arrays {
      Views.Arrays(
        pet: arrays.pet, mask: omitted.contains(.mask) ? zeros : arrays.mask,
        ct: omitted.contains(.ct) ? zeros : arrays.ct)
    }
    let global = remaining(views.global)
    return Views(
      extent: views.extent, global: global, focal: omitted.contains(.focal) ? global : remaining(views.focal),
      geometry: views.geometry, warnings: views.warnings)
  }
}
