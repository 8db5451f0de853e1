import PetarTraining
import Testing

@Suite("Phantoms: names and findings")
struct PhantomTextTests {
  @Test("There are the 117 classes of TotalSegmentator, at the numbers its label maps use")
  func classes() {
    #expect(AnatomicalClass.names.count == 117)
    #expect(Set(AnatomicalClass.names).count == 117)
    let known = [
      1: "spleen", 5: "liver", 21: "urinary_bladder", 25: "sacrum", 26: "vertebrae_S1", 27: "vertebrae_L5",
      32: "vertebrae_T12",
      50: "vertebrae_C1", 51: "heart", 52: "aorta", 63: "inferior_vena_cava", 77: "hip_left", 79: "spinal_cord",
      90: "brain",
      91: "skull", 92: "rib_left_1", 104: "rib_right_1", 116: "sternum", 117: "costal_cartilages",
    ]
    for (number, name) in known { #expect(AnatomicalClass.number(name) == number) }
    #expect(AnatomicalClass.number("heart_left") == nil)
  }

  @Test("No two classes are called the same")
  func spokenNames() {
    #expect(AnatomicalClass.spoken("kidney_left") == "left kidney")
    #expect(AnatomicalClass.spoken("rib_right_7") == "right rib 7")
    #expect(AnatomicalClass.spoken("vertebrae_T7") == "vertebra T7")
    #expect(AnatomicalClass.spoken("lung_upper_lobe_left") == "left lung upper lobe")
    #expect(Set(AnatomicalClass.names.map(AnatomicalClass.spoken)).count == 117)
  }

  @Test("A finding is a sentence in the paper's schema")
  func sentence() {
    let finding = LesionFinding(
      region: "pelvis", organ: "hip bone", subSite: "iliac wing", laterality: "right", morphology: .ring,
      uptake: .intense, tracer: .fdg, ct: .lytic)
    #expect(
      finding.text
        == "Region: pelvis. Organ: hip bone. Sub-site: iliac wing. Laterality: right. Findings: ring-shaped lesion with "
        + "intense FDG uptake, lytic on CT.")
  }

  @Test("Every combination of attributes is read back from its sentence")
  func roundTrip() throws {
    for morphology in LesionFinding.Morphology.allCases {
      for uptake in LesionFinding.Uptake.allCases {
        for tracer in Tracer.allCases {
          for ct in LesionFinding.CTCorrelate.allCases {
            for laterality in ["left", nil] {
              let finding = LesionFinding(
                region: "abdomen", organ: "lymph node", subSite: "para-aortic", laterality: laterality,
                morphology: morphology, uptake: uptake, tracer: tracer, ct: ct)
              #expect(LesionFinding(parsing: finding.text) == finding)
            }
          }
        }
      }
    }
  }

  @Test(
    "What is not such a sentence is not read",
    arguments: [
      "", "Region: pelvis.", "Region: pelvis. Organ: rib. Sub-site: lateral. Findings: round lesion.",
      "Region: chest. Organ: rib. Sub-site: lateral. Findings: square lesion with mild FDG uptake, lytic on CT.",
      "Region: chest. Organ: rib. Sub-site: lateral. Findings: round lesion with mild FDG uptake, lytic on CT. Size: big.",
      "Organ: rib. Region: chest. Sub-site: lateral. Findings: round lesion with mild FDG uptake, lytic on CT.",
    ])
  func strangers(_ text: String) {
    #expect(LesionFinding(parsing: text) == nil)
  }
}
