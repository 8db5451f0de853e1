import Glibc

/// A body as it is painted: parts one over the other, later over earlier.
struct Body: Sendable {
  /// Shapes of one tissue.
  struct Part: Sendable {
    let tissue: Tissue
    /// The class in the organ map; 0 clears it, nil leaves what is there.
    let label: UInt8?
    let shapes: [Shape]
  }

  let patient: Patient
  private(set) var parts: [Part] = []
  /// y of the back in the atlas.
  var back: Float = 0
  /// The trunk without skin and the fat under it: no muscle reaches beyond.
  var wall = Shape(.zero, .zero) { _ in 0 }
  /// Drawn from for what differs between patients beyond the warp.
  var random: PhantomRandom

  init(_ patient: Patient) {
    self.patient = patient
    random = PhantomRandom(patient.seed, 2)
    addOutline()
    addMuscles()
    addScalp()
    addChest()
    addAbdomen()
    addPelvis()
    addSkeleton()
    addHead()
  }

  /// - Parameter name: a class of `AnatomicalClass`; "" for what none of them is, nil for what leaves the map as it is.
  mutating func add(_ name: String?, _ tissue: Tissue, _ shapes: [Shape]) {
    let label = name.map { UInt8(AnatomicalClass.number($0) ?? 0) }
    parts.append(Part(tissue: tissue, label: label, shapes: shapes))
  }

  mutating func add(_ name: String?, _ tissue: Tissue, _ shape: Shape) { add(name, tissue, [shape]) }

  /// A bone: a shell of cortex around marrow.
  mutating func addBone(_ name: String, _ shapes: [Shape], shell: Float = 2.2, marrow: Tissue = .marrow) {
    add(name, .cortex, shapes)
    add(name, marrow, shapes.map { $0.inset(shell) })
  }

  /// A muscle with the thin layer of fat that parts it from its neighbours.
  mutating func addMuscle(_ name: String, _ shapes: [Shape]) {
    add("", .fat, shapes.map { $0.inset(-2) })
    add(name, .muscle, shapes)
  }

  mutating func bothSides(_ body: (inout Body, Side) -> Void) {
    for side in Side.allCases { body(&self, side) }
  }
}

/// Landmarks of the atlas: a man of 1.75 m on his back; z = 0 is the middle of the thigh, 950 the top of the head.
enum Landmark {
  /// Vertebra names from the neck down: name, z and y of the body's middle, half-width, half-depth, half-height.
  static let vertebrae: [(name: String, z: Float, y: Float, half: Point)] = [
    ("C1", 764, -8, Point(13, 8, 6)), ("C2", 746, -7, Point(11, 8, 9)), ("C3", 728, -6, Point(11, 8, 7.5)),
    ("C4", 711, -7, Point(11.5, 8, 7.5)), ("C5", 694, -10, Point(12, 8.5, 7.5)), ("C6", 677, -15, Point(12.5, 9, 7.5)),
    ("C7", 659, -21, Point(13.5, 9.5, 8)), ("T1", 640, -28, Point(14, 10, 8.5)), ("T2", 620, -35, Point(14, 11, 9)),
    ("T3", 600, -41, Point(14, 12, 9)), ("T4", 579, -46, Point(14, 13, 9.5)), ("T5", 557, -50, Point(14.5, 13.5, 10)),
    ("T6", 535, -53, Point(15, 14.5, 10)), ("T7", 512, -55, Point(15.5, 15, 10.5)),
    ("T8", 488, -56, Point(16, 15.5, 11)),
    ("T9", 463, -55, Point(17, 16, 11.5)), ("T10", 437, -53, Point(18, 16, 12)), ("T11", 410, -49, Point(19, 16, 12.5)),
    ("T12", 380, -44, Point(20.5, 16, 13)), ("L1", 348, -38, Point(21.5, 16.5, 13.5)),
    ("L2", 314, -33, Point(22.5, 17, 14)), ("L3", 279, -30, Point(23.5, 17, 14)),
    ("L4", 243, -30, Point(24.5, 17.5, 14)),
    ("L5", 208, -36, Point(25.5, 17.5, 13.5)),
  ]

  /// y of the middle of the vertebral bodies.
  static let spine = Profile(
    [(165, Point(0, -52, 0))] + vertebrae.reversed().map { ($0.z, Point(0, $0.y, 0)) } + [(785, Point(0, -8, 0))])

  /// The outside of the rib cage: half-width, half-depth, y of the middle.
  static let cage = Profile([
    (250, Point(112, 80, 2)), (330, Point(118, 84, 2)), (370, Point(128, 89, 4)), (420, Point(134, 93, 5)),
    (470, Point(136, 95, 6)),
    (520, Point(132, 93, 4)), (560, Point(121, 86, 0)), (600, Point(100, 74, -8)), (630, Point(76, 58, -15)),
    (652, Point(48, 40, -22)), (668, Point(20, 18, -28)),
  ])

  /// For each rib how far around it goes (degrees from the spine), and how far it descends on the way.
  private static let ribs: [(end: Float, drop: Float)] = [
    (146, 34), (150, 52), (150, 68), (148, 82), (146, 94), (143, 102), (138, 104), (128, 98), (116, 90), (104, 80),
    (80, 58), (56, 34),
  ]

  /// A place on a right rib.
  /// - Parameters:
  ///   - index: 0 for the first rib.
  ///   - share: 0 beside the spine, 1 at the front end.
  static func rib(_ index: Int, share: Float) -> Point {
    let (end, drop) = ribs[index]
    let angle = (19 + (end - 19) * share) * .pi / 180
    // Steepest at the flank.
    let z = vertebrae[index + 7].z + 3 - drop * share * share * (3 - 2 * share)
    let size = cage(z)
    return Point((size.x - 2.5) * sin(angle), size.z - (size.y - 2.5) * cos(angle), z)
  }

  /// Top of the diaphragm's domes.
  static let dome: (right: Shape, left: Shape) = (
    .ellipsoid(Point(68, 8, 350), Point(72, 90, 106)), .ellipsoid(Point(-66, 6, 344), Point(68, 88, 94))
  )
}
