/// A place where lesions grow, and how it is named.
struct LesionSite: Sendable {
  /// What a lesion there looks like on CT.
  enum Kind: Sendable {
    case bone, lung, node, parenchyma, hollow

    var correlates: [LesionFinding.CTCorrelate] {
      switch self {
      case .bone: [.lytic, .sclerotic, .none]
      case .lung: [.solidNodule, .groundGlass, .cavity]
      case .node: [.enlargedNode, .calcifiedNode, .normalNode]
      case .parenchyma: [.hypodense, .calcified, .none]
      case .hollow: [.mass, .calcified, .none]
      }
    }
  }

  let region: String
  let organ: String
  let subSite: String
  let side: Side?
  let kind: Kind
  /// Middles of lesions in the atlas: one of them, or a place on the way to the next.
  let places: [Point]
  /// A lesion may also lie between two places.
  let between: Bool
  /// How far from there, in millimetres along each axis.
  let scatter: Point
  /// Class in the organ map that must hold the lesion's middle; nil for none.
  let host: UInt8?
  /// Along which elongated lesions grow.
  let axis: Point
  /// Largest volume in millilitres.
  let largest: Float
  /// How often, for each tracer in the order of `Tracer.allCases`.
  let weights: [Float]
}

extension LesionSite {
  /// - Parameter weights: how often, for FDG, DOTATATE, fluciclovine, DCFPyL.
  private static func site(
    _ region: String, _ organ: String, _ subSite: String, _ kind: Kind, _ places: [Point], paired: Bool = false,
    between: Bool = true, scatter: Point = Point(2, 2, 3), host: String? = nil, axis: Point = Point(0, 0, 1),
    largest: Float = 40, _ weights: [Float]
  ) -> [LesionSite] {
    let sides: [Side?] = paired ? [.right, .left] : [nil]
    return sides.map { side in
      LesionSite(
        region: region, organ: organ, subSite: subSite, side: side, kind: kind,
        places: places.map { $0.mirrored(side ?? .right) }, between: between, scatter: scatter,
        host: host.flatMap { name in
          let full = side.map { name.replacing("SIDE", with: $0.rawValue) } ?? name
          return AnatomicalClass.number(full).map { UInt8($0) }
        },
        axis: axis.mirrored(side ?? .right), largest: largest, weights: weights.map { $0 / Float(sides.count) })
    }
  }

  /// Every site of a patient.
  static func all(_ patient: Patient) -> [LesionSite] {
    neck + chest + lungs + chestBones(patient) + abdomen + abdominalNodes + pelvis + pelvicBones
      + (patient.male ? prostate : [])
  }

  private static let neck =
    site(
      "neck", "lymph node", "cervical", .node, [Point(34, 20, 722), Point(32, 22, 694)], paired: true, [4, 2, 1, 1])
    + site("neck", "lymph node", "supraclavicular", .node, [Point(66, 18, 664)], paired: true, [4, 2, 1, 3])
    + site("neck", "thyroid gland", "lobe", .parenchyma, [Point(22, 20, 662)], paired: true, largest: 25, [3, 2, 0, 0])

  private static let chest =
    site(
      "chest", "lymph node", "axillary", .node, [Point(138, 14, 592), Point(140, 12, 562)], paired: true, [5, 2, 1, 1])
    + site(
      "chest", "lymph node", "paratracheal", .node, [Point(24, 2, 618), Point(24, 0, 600)], paired: true, [5, 2, 1, 2])
    + site("chest", "lymph node", "subcarinal", .node, [Point(3, -16, 540)], [3, 1, 1, 1])
    + site(
      "chest", "lymph node", "hilar", .node, [Point(46, -18, 538), Point(46, -18, 518)], paired: true, [4, 1, 1, 1])
    + site("chest", "esophagus", "middle third", .hollow, [Point(-4, -26, 520), Point(-6, -24, 480)], [2, 1, 0, 0])

  private static let lungs =
    site(
      "chest", "lung", "upper lobe", .lung, [Point(62, 0, 600), Point(84, 30, 550)], paired: true,
      scatter: Point(18, 25, 10), host: "lung_upper_lobe_SIDE", largest: 150, [7, 2, 0.5, 1])
    + site(
      "chest", "lung", "lower lobe", .lung, [Point(74, -48, 500), Point(88, -46, 450)], paired: true,
      scatter: Point(18, 18, 12), host: "lung_lower_lobe_SIDE", largest: 150, [7, 2, 0.5, 1])
    // Only the right lung has one: its side is said nevertheless.
    + site(
      "chest", "lung", "middle lobe", .lung, [Point(84, 62, 482)], paired: true, scatter: Point(16, 12, 10),
      host: "lung_middle_lobe_SIDE", largest: 100, [4, 1, 0.3, 0.5]
    ).filter { $0.side == .right }

  private static func chestBones(_ patient: Patient) -> [LesionSite] {
    func ribs(_ part: String, _ shares: [Float]) -> [LesionSite] {
      site(
        "chest", "rib", part, .bone, (2...8).flatMap { rib in shares.map { Landmark.rib(rib, share: $0) } },
        paired: true,
        between: false, scatter: Point(1, 1, 2), axis: part == "lateral" ? Point(0, 0.8, -0.6) : Point(1, 0, -0.2),
        [2, 1, 1.5, 2.5])
    }
    func spine(_ part: String, _ names: Set<String>) -> [LesionSite] {
      site(
        "chest", "thoracic spine", part, .bone,
        Landmark.vertebrae.filter { names.contains($0.name) }.map { Point(0, $0.y, $0.z) }, between: false,
        scatter: Point(3, 2, 1), [3, 2, 2.5, 3.5])
    }
    let up = patient.arms == .up
    let shoulder = up ? [Point(137, -20, 660), Point(150, -8, 700)] : [Point(152, -22, 612), Point(170, -26, 584)]
    return ribs("posterior", [0.06, 0.12, 0.18]) + ribs("lateral", [0.44, 0.5, 0.56]) + ribs("anterior", [0.86, 0.92])
      + spine("upper", ["T1", "T2", "T3"]) + spine("middle", ["T5", "T6", "T7", "T8"])
      + spine("lower", ["T10", "T11", "T12"])
      + site("chest", "sternum", "manubrium", .bone, [Point(0, 60, 612)], axis: Point(1, 0, 0), [1.5, 1, 1, 1.5])
      + site("chest", "sternum", "body", .bone, [Point(0, 88, 555), Point(0, 96, 500)], [1.5, 1, 1, 1.5])
      + site(
        "chest", "scapula", "body", .bone, [up ? Point(104, -74, 592) : Point(92, -82, 578)], paired: true,
        [1.5, 1, 1, 2])
      + site(
        "chest", "clavicle", "shaft", .bone, [Point(58, 48, 642), Point(88, 24, 650)], paired: true,
        axis: Point(0.75, -0.6, 0.2), [1.5, 1, 1, 1.5])
      + site(
        "upper extremity", "humerus", "proximal", .bone, shoulder, paired: true, [2, 1, 1, 2])
  }

  private static let abdomen =
    site(
      "abdomen", "liver", "right lobe", .parenchyma, [Point(92, 10, 404), Point(82, 8, 350)],
      scatter: Point(16, 26, 10), host: "liver", largest: 320, [6, 14, 1, 1])
    + site(
      "abdomen", "liver", "left lobe", .parenchyma, [Point(-14, 48, 394), Point(-46, 44, 402)],
      scatter: Point(8, 6, 6), host: "liver", largest: 70, [4, 8, 0.5, 0.5])
    + site(
      "abdomen", "spleen", "upper pole", .parenchyma, [Point(-80, -44, 404)], scatter: Point(4, 6, 6), host: "spleen",
      largest: 60, [2.5, 0, 1, 1])
    + site(
      "abdomen", "spleen", "lower pole", .parenchyma, [Point(-86, -28, 356)], scatter: Point(4, 6, 6), host: "spleen",
      largest: 60, [2.5, 0, 1, 1])
    + site("abdomen", "adrenal gland", "body", .hollow, [Point(44, -36, 362)], paired: true, [4, 2, 1, 1])
    + site("abdomen", "pancreas", "head", .parenchyma, [Point(29, 18, 308)], axis: Point(0, 0.3, 1), [2.5, 6, 0, 0.5])
    + site(
      "abdomen", "pancreas", "body", .parenchyma, [Point(-18, 17, 335)], axis: Point(1, 0.4, -0.3), [2.5, 5, 0, 0.5])
    + site(
      "abdomen", "pancreas", "tail", .parenchyma, [Point(-72, -15, 358)], axis: Point(1, 0.6, -0.4), [2.5, 6, 0, 0.5])
    + site(
      "abdomen", "stomach", "body", .hollow, [Point(-68, 40, 350)], scatter: Point(4, 6, 8), largest: 90, [3, 2, 0, 0])
    + site(
      "abdomen", "colon", "ascending", .hollow, [Point(102, 2, 262), Point(101, 4, 240)], largest: 70, [3, 1, 0, 0])
    + site(
      "abdomen", "colon", "descending", .hollow, [Point(-106, -14, 290), Point(-104, -6, 245)], largest: 70,
      [3, 1, 0, 0])
    + site(
      "abdomen", "omentum", "anterior", .hollow, [Point(52, 76, 244), Point(36, 80, 230)], paired: true,
      axis: Point(0.8, 0, 0.6), largest: 90, [3, 2, 0.5, 0.5])

  private static let abdominalNodes =
    site(
      "abdomen", "lymph node", "para-aortic", .node, [Point(-27, -4, 310), Point(-25, -4, 268)], largest: 90,
      [5, 4, 6, 6])
    + site("abdomen", "lymph node", "aortocaval", .node, [Point(9, 2, 300), Point(9, 4, 268)], [4, 3, 5, 5])
    + site(
      "abdomen", "lymph node", "mesenteric", .node, [Point(-20, 42, 226), Point(20, 42, 236)],
      scatter: Point(8, 8, 8), largest: 90, [3, 9, 1, 1])
    + site(
      "abdomen", "lumbar spine", "upper", .bone, [Point(0, -38, 348), Point(0, -33, 314)], between: false,
      scatter: Point(3, 2, 1), [3, 2, 4, 4])
    + site(
      "abdomen", "lumbar spine", "lower", .bone, [Point(0, -30, 243), Point(0, -36, 208)], between: false,
      scatter: Point(3, 2, 1), [3, 2, 4, 4])

  private static let pelvis =
    site(
      "pelvis", "lymph node", "common iliac", .node, [Point(30, -8, 216), Point(36, -6, 202)], paired: true,
      [3, 2, 7, 7])
    + site(
      "pelvis", "lymph node", "external iliac", .node, [Point(56, 16, 156), Point(64, 32, 134)], paired: true,
      axis: Point(0.4, 0.6, -0.8), [4, 2, 9, 9])
    + site("pelvis", "lymph node", "internal iliac", .node, [Point(44, -34, 162)], paired: true, [2, 1, 6, 6])
    + site(
      "pelvis", "lymph node", "inguinal", .node, [Point(76, 60, 92), Point(78, 62, 80)], paired: true, [4, 1, 3, 3])
    + site("pelvis", "rectum", "middle third", .hollow, [Point(0, -52, 122)], largest: 60, [3, 1, 1, 1])
    + site(
      "pelvis", "gluteus maximus", "muscle belly", .parenchyma, [Point(86, -72, 136), Point(84, -72, 108)],
      paired: true,
      scatter: Point(10, 4, 8), largest: 90, [2, 1, 0.5, 0.5])

  private static let pelvicBones =
    site(
      "pelvis", "hip bone", "iliac wing", .bone, [Point(112, 8, 206), Point(86, -36, 206)], paired: true,
      axis: Point(0.55, 0.83, 0), largest: 70, [4, 2, 6, 7])
    + site("pelvis", "hip bone", "acetabulum", .bone, [Point(78, 4, 146)], paired: true, largest: 50, [3, 1, 4, 5])
    + site("pelvis", "hip bone", "ischium", .bone, [Point(66, -36, 84)], paired: true, [2, 1, 4, 5])
    + site(
      "pelvis", "hip bone", "pubis", .bone, [Point(44, 44, 108), Point(30, 52, 102)], paired: true,
      axis: Point(0.8, -0.5, 0.3), [2, 1, 3, 4])
    + site("pelvis", "sacrum", "ala", .bone, [Point(36, -60, 174), Point(32, -66, 156)], paired: true, [3, 2, 4, 4])
    + site(
      "lower extremity", "femur", "head", .bone, [Point(94, 3, 121)], paired: true, axis: Point(0.8, 0, -0.6),
      [1.5, 1, 2, 2])
    + site(
      "lower extremity", "femur", "trochanter", .bone, [Point(128, -9, 94)], paired: true, [2, 1, 2, 3])
    + site(
      "lower extremity", "femur", "shaft", .bone, [Point(116, -1, 40), Point(113, 1, 26)], paired: true, largest: 50,
      [2, 1, 2, 3])

  private static let prostate = site(
    "pelvis", "prostate", "peripheral zone", .parenchyma, [Point(13, 8, 84)], paired: true, host: "prostate",
    largest: 25,
    [2, 0, 12, 14])
}
