/// A lesion in the paper's schema, and the sentence that says it.
///
/// The text holds no number: numbers of a finding are measured on the mask, never written by a model.
package struct LesionFinding: Sendable, Equatable {
  package enum Morphology: String, CaseIterable, Sendable {
    case round, lobulated, elongated
    /// Uptake around a centre without any.
    case ring = "ring-shaped"
  }

  package enum Uptake: String, CaseIterable, Sendable {
    case mild, moderate, intense
  }

  package enum CTCorrelate: String, CaseIterable, Sendable {
    case lytic = "lytic"
    case sclerotic = "sclerotic"
    case solidNodule = "solid nodule"
    case groundGlass = "ground-glass opacity"
    case cavity = "cavity"
    case enlargedNode = "enlarged node"
    case calcifiedNode = "calcified node"
    case normalNode = "normal-size node"
    case hypodense = "hypodense"
    case calcified = "calcified"
    case mass = "soft-tissue mass"
    case none = "no correlate"
  }

  package var region: String
  package var organ: String
  package var subSite: String
  /// "right" or "left"; nil for what lies in the middle and for organs that are there once.
  package var laterality: String?
  package var morphology: Morphology
  package var uptake: Uptake
  package var tracer: Tracer
  package var ct: CTCorrelate

  package init(
    region: String, organ: String, subSite: String, laterality: String?, morphology: Morphology, uptake: Uptake,
    tracer: Tracer, ct: CTCorrelate
  ) {
    self.region = region
    self.organ = organ
    self.subSite = subSite
    self.laterality = laterality
    self.morphology = morphology
    self.uptake = uptake
    self.tracer = tracer
    self.ct = ct
  }

  /// "Region: pelvis. Organ: hip bone. Sub-site: iliac wing. Laterality: right. Findings: round lesion with intense FDG
  /// uptake, lytic on CT."
  package var text: String {
    var fields = ["Region: \(region)", "Organ: \(organ)", "Sub-site: \(subSite)"]
    if let laterality { fields.append("Laterality: \(laterality)") }
    fields.append(
      "Findings: \(morphology.rawValue) lesion with \(uptake.rawValue) \(tracer.rawValue) uptake, \(ct.rawValue) on CT")
    return fields.joined(separator: ". ") + "."
  }

  /// Reads back what `text` says; nil for any other text.
  package init?(parsing text: String) {
    guard text.hasSuffix(".") else { return nil }
    var fields: [String: String] = [:]
    for field in text.dropLast().split(separator: ".") {
      let parts = field.split(separator: ":", maxSplits: 1)
      guard parts.count == 2, fields.updateValue(parts[1].trimmed, forKey: parts[0].trimmed) == nil else {
        return nil
      }
    }
    guard let region = fields["Region"], let organ = fields["Organ"], let subSite = fields["Sub-site"],
      let findings = fields["Findings"]
    else { return nil }
    // MORPHOLOGY lesion with UPTAKE TRACER uptake, CT on CT
    let halves = findings.split(separator: ",", maxSplits: 1)
    guard halves.count == 2 else { return nil }
    let words = halves[0].split(separator: " ").map(String.init)
    let onCT = halves[1].trimmed
    guard words.count == 6, words[1] == "lesion", words[2] == "with", words[5] == "uptake", onCT.hasSuffix(" on CT"),
      let morphology = Morphology(rawValue: words[0]), let uptake = Uptake(rawValue: words[3]),
      let tracer = Tracer(rawValue: words[4]), let ct = CTCorrelate(rawValue: String(onCT.dropLast(6)))
    else { return nil }
    self.init(
      region: region, organ: organ, subSite: subSite, laterality: fields["Laterality"], morphology: morphology,
      uptake: uptake, tracer: tracer, ct: ct)
    // Nothing may be there that the fields do not hold.
    guard self.text == text else { return nil }
  }
}
