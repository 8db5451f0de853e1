import Petar

/// An input that an ablation trains and describes without.
///
/// What is left out is made to say nothing, so that one network serves all rows of the table: an empty mask embeds to the
/// mask's bias alone, a CT of zeros to the same features whatever the exam, and without the focal crop the whole view
/// is seen twice, `T = 2 X`.
package enum OmittedInput: String, CaseIterable, Sendable {
  case mask, ct, focal

  /// - Throws: `PETAR_ERROR_OUT_OF_MEMORY`.
  package static func apply(_ omitted: Set<OmittedInput>, to views: Views) throws -> Views {
    guard !omitted.isEmpty else { return views }
    func altered(_ arrays: Views.Arrays) throws -> Views.Arrays {
      Views.Arrays(
        pet: arrays.pet, mask: omitted.contains(.mask) ? try Buffer(count: arrays.mask.count) : arrays.mask,
        ct: omitted.contains(.ct) ? try Buffer(count: arrays.ct.count) : arrays.ct)
    }
    let global = try altered(views.global)
    return Views(
      extent: views.extent, global: global, focal: omitted.contains(.focal) ? global : try altered(views.focal),
      geometry: views.geometry, warnings: views.warnings)
  }
}

extension Set<OmittedInput> {
  /// In an order of their own, for reports.
  package var names: [String] { map(\.rawValue).sorted() }
}
