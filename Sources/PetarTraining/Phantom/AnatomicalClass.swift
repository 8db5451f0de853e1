/// The 117 classes of TotalSegmentator's task "total" (version 2), by their numbers in its label maps.
package enum AnatomicalClass {
  package static let names: [String] = {
    var names = [
      "spleen", "kidney_right", "kidney_left", "gallbladder", "liver", "stomach", "pancreas", "adrenal_gland_right",
      "adrenal_gland_left", "lung_upper_lobe_left", "lung_lower_lobe_left", "lung_upper_lobe_right",
      "lung_middle_lobe_right", "lung_lower_lobe_right", "esophagus", "trachea", "thyroid_gland", "small_bowel",
      "duodenum", "colon", "urinary_bladder", "prostate", "kidney_cyst_left", "kidney_cyst_right", "sacrum",
      "vertebrae_S1",
    ]
    names += (1...5).reversed().map { "vertebrae_L\($0)" }
    names += (1...12).reversed().map { "vertebrae_T\($0)" }
    names += (1...7).reversed().map { "vertebrae_C\($0)" }
    names += [
      "heart", "aorta", "pulmonary_vein", "brachiocephalic_trunk", "subclavian_artery_right",
      "subclavian_artery_left", "common_carotid_artery_right", "common_carotid_artery_left",
      "brachiocephalic_vein_left", "brachiocephalic_vein_right", "atrial_appendage_left", "superior_vena_cava",
      "inferior_vena_cava", "portal_vein_and_splenic_vein", "iliac_artery_left", "iliac_artery_right",
      "iliac_vena_left", "iliac_vena_right", "humerus_left", "humerus_right", "scapula_left", "scapula_right",
      "clavicula_left", "clavicula_right", "femur_left", "femur_right", "hip_left", "hip_right", "spinal_cord",
      "gluteus_maximus_left", "gluteus_maximus_right", "gluteus_medius_left", "gluteus_medius_right",
      "gluteus_minimus_left", "gluteus_minimus_right", "autochthon_left", "autochthon_right", "iliopsoas_left",
      "iliopsoas_right", "brain", "skull",
    ]
    names += (1...12).map { "rib_left_\($0)" } + (1...12).map { "rib_right_\($0)" }
    return names + ["sternum", "costal_cartilages"]
  }()

  private static let numbers = Dictionary(uniqueKeysWithValues: zip(names, 1...))

  /// 1...117; nil for a name that is not one of the classes.
  package static func number(_ name: String) -> Int? { numbers[name] }

  /// As one would say it: "left kidney", "vertebra T7", "left rib 7".
  package static func spoken(_ name: String) -> String {
    let words = name.split(separator: "_").map(String.init)
    if words[0] == "vertebrae" { return "vertebra \(words[1])" }
    guard let side = words.first(where: { Side(rawValue: $0) != nil }) else { return words.joined(separator: " ") }
    return ([side] + words.filter { $0 != side }).joined(separator: " ")
  }
}
