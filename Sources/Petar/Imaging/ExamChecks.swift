import CPetar
import Glibc

/// PET, CT and mask of one lesion.
package struct Exam: Sendable {
  /// What CT is taken to be where there is none.
  package enum CTOutside: Int32, Sendable {
    /// 0 HU, as the released preprocessing does.
    case released = 0
    /// -1000 HU.
    case air = 1

    var value: Float { self == .released ? 0 : -1000 }
  }

  package var pet: Volume
  package var ct: Volume
  package var mask: Volume
  /// The lesion's label; 0: every label above 0.
  package var label: Int32
  package var ctOutside: CTOutside

  package init(pet: Volume, ct: Volume, mask: Volume, label: Int32 = 0, ctOutside: CTOutside = .released) {
    self.pet = pet
    self.ct = ct
    self.mask = mask
    self.label = label
    self.ctOutside = ctOutside
  }
}

extension Exam {
  /// Refuses volumes that cannot be what they are called.
  /// - Returns: what a person should know.
  func check() throws -> [String] {
    guard pet.unit == .suv || pet.unit == .bqml else {
      throw PetarError(PETAR_ERROR_BAD_UNIT, "the PET is in \(pet.unit); it must be in SUV or Bq/mL")
    }
    guard ct.unit == .hu else {
      throw PetarError(PETAR_ERROR_BAD_UNIT, "the CT is in \(ct.unit); it must be in HU")
    }
    guard mask.unit == .label else {
      throw PetarError(PETAR_ERROR_BAD_UNIT, "the mask is in \(mask.unit); it must hold labels")
    }
    guard label >= 0 else {
      throw PetarError(PETAR_ERROR_INVALID_ARGUMENT, "label \(label) is below 0; labels are positive, 0 means all")
    }
    try checkSUV()
    guard pet.grid.overlaps(ct.grid) else { throw noOverlap }
    // What no scanner has is refused before anything is resampled onto it.
    _ = try ModelGrid(covering: pet.grid)
    var warnings: [String] = []
    if pet.range.lowerBound < Limits.negativeSUV {
      warnings.append("PET values go down to SUV \(Self.short(pet.range.lowerBound)); check that it is a PET")
    }
    if ct.range.lowerBound > Limits.airHU {
      warnings.append(
        "no CT value lies below \(Self.short(Limits.airHU)) HU (lowest \(Self.short(ct.range.lowerBound))); check that "
          + "it is a CT in HU")
    }
    return warnings
  }

  var noOverlap: PetarError {
    func text(_ grid: Grid) -> String {
      let (lower, upper) = grid.bounds(grid.affine)
      return (0..<3).map { "\(Self.short(lower[$0])) to \(Self.short(upper[$0]))" }.joined(separator: ", ")
    }
    return PetarError(
      PETAR_ERROR_BAD_GEOMETRY,
      "PET (\(text(pet.grid)) mm) and CT (\(text(ct.grid)) mm) do not overlap: are both of one examination?")
  }

  private func checkSUV() throws {
    let highest = pet.range.upperBound
    guard highest > 0 else {
      throw PetarError(
        PETAR_ERROR_BAD_VOLUME, "no PET voxel is above 0 (highest \(highest)): there is no uptake to look at")
    }
    let mean = pet.meanUptake
    guard highest > Limits.largestSUV || mean > Limits.largestMeanSUV else { return }
    let found = "PET values reach \(Self.short(highest)), mean above zero \(Self.short(mean))"
    if pet.unit == .suv {
      throw PetarError(
        PETAR_ERROR_BAD_UNIT,
        "\(found): that looks like Bq/mL, not SUV. Convert it: SUV = Bq/mL x body weight in g / injected dose in Bq, "
          + "decay-corrected to the scan; or pass it in Bq/mL with that factor")
    }
    throw PetarError(
      PETAR_ERROR_BAD_UNIT,
      "\(found) after the SUV factor: no SUV is that high. The factor is body weight in g / injected dose in Bq, "
        + "decay-corrected to the scan")
  }

  /// A number for a sentence: at most two decimals.
  static func short(_ value: Double) -> String {
    let rounded = (value * 100).rounded() / 100
    return rounded == rounded.rounded() && abs(rounded) < 1e15 ? String(Int(rounded)) : String(rounded)
  }
}
