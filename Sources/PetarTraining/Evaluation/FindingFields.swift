/// The parts of a finding that are scored one by one. Raw values are the names of docs/dataset.md.
package enum FindingField: String, CaseIterable, Sendable {
  case region, organ
  case subSite = "sub_site"
  case laterality, morphology, uptake, tracer, ct

  /// Those whose mean is reported as one number. Organ and laterality stand for themselves.
  package static let attributes: [FindingField] = [.region, .subSite, .morphology, .uptake, .tracer, .ct]
}

/// What a finding says, field by field. A field that is not said is not there.
package struct FindingFields: Sendable, Equatable {
  package private(set) var values: [FindingField: String] = [:]

  /// Nothing said.
  package init() {}

  package subscript(_ field: FindingField) -> String? { values[field] }

  /// Reads a model's text: as `LesionFinding` writes it, or whatever can be made out of one that strays from that.
  package init(reading text: String) {
    if let finding = LesionFinding(parsing: text) {
      self.init(finding)
    } else {
      self.init()
      read(text)
    }
  }

  package init(_ finding: LesionFinding) {
    values = [
      .region: finding.region, .organ: finding.organ, .subSite: finding.subSite,
      .morphology: finding.morphology.rawValue, .uptake: finding.uptake.rawValue, .tracer: finding.tracer.rawValue,
      .ct: finding.ct.rawValue,
    ]
    values[.laterality] = finding.laterality
  }

  /// "Organ: x." is a field wherever it stands; what is said first counts.
  private mutating func read(_ text: String) {
    for sentence in text.split(whereSeparator: { ".\n;".contains($0) }) {
      let parts = sentence.split(separator: ":", maxSplits: 1)
      guard parts.count == 2 else { continue }
      let value = parts[1].trimmed
      switch parts[0].trimmed.lowercased() {
      case "region": set(.region, value)
      case "organ": set(.organ, value)
      case "sub-site": set(.subSite, value)
      case "laterality": set(.laterality, value)
      case "findings": readFindings(value)
      default: break
      }
    }
  }

  /// "MORPHOLOGY lesion with UPTAKE TRACER uptake, CT on CT", or parts of it.
  private mutating func readFindings(_ text: String) {
    for clause in text.split(separator: ",").map(\.trimmed) {
      if clause.hasSuffix(" on CT") {
        set(.ct, clause.dropLast(" on CT".count).trimmed)
        continue
      }
      let words = clause.split(separator: " ").map(String.init)
      if let lesion = words.firstIndex(of: "lesion"), lesion > 0 { set(.morphology, words[lesion - 1]) }
      guard let uptake = words.lastIndex(of: "uptake") else { continue }
      // Between "with" and "uptake": how much, of what.
      let said = words[..<uptake].drop { $0 != "with" }.dropFirst()
      if let first = said.first, LesionFinding.Uptake(rawValue: first) != nil { set(.uptake, first) }
      if let last = said.last, Tracer(rawValue: last) != nil { set(.tracer, last) }
    }
  }

  private mutating func set(_ field: FindingField, _ value: String) {
    if values[field] == nil, !value.isEmpty { values[field] = value }
  }
}

extension StringProtocol {
  /// Without the spaces around it.
  var trimmed: String { String(drop { $0 == " " }.reversed().drop { $0 == " " }.reversed()) }
}
