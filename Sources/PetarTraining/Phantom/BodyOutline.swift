extension Body {
  /// Skin, fat, and the muscle and cavity in which everything else is painted.
  mutating func addOutline() {
    let fat = patient.fat
    // Without the subcutaneous fat: half-width, half-depth, y of the middle.
    let lean: [(Float, Point, Float)] = [
      (56, Point(18, 34, 0), 0.2), (72, Point(104, 72, 0), 0.8), (92, Point(160, 90, -4), 1.2),
      (125, Point(163, 97, -4), 1.2),
      (170, Point(158, 97, -6), 1.1), (215, Point(148, 94, -4), 1), (260, Point(138, 91, 0), 1),
      (310, Point(137, 91, 2), 1), (360, Point(143, 96, 3), 0.8), (420, Point(150, 102, 4), 0.6),
      (480, Point(155, 106, 4), 0.5), (530, Point(160, 106, 2), 0.5), (575, Point(164, 100, -4), 0.5),
      (610, Point(160, 88, -9), 0.4), (640, Point(128, 72, -12), 0.35), (662, Point(82, 62, -9), 0.3),
      (685, Point(58, 55, -5), 0.25), (770, Point(54, 54, 0), 0.2),
    ]
    let muscle = patient.muscle
    let girth = patient.girth
    func trunk(_ share: Float) -> Profile {
      Profile(
        lean.map { height, size, part in
          let wide = size.x * (height > 600 ? 1 : muscle * 0.3 + 0.7)
          let deep = size.y * (height > 200 && height < 420 ? girth : 1)
          return (height, Point(wide + fat * part * share, deep + fat * part * share * 0.9, size.z))
        })
    }
    let skin = trunk(1).stack(squareness: 2.3)
    back = trunk(1).values.reduce(0) { min($0, $1.z - $1.y) }
    let wall = trunk(0).stack(squareness: 2.3)
    self.wall = wall
    var outer = [skin]
    var inner = [wall]
    for side in Side.allCases {
      outer += limbs(side, grown: 0)
      inner += limbs(side, grown: -max(fat * 0.4, 5))
      let buttock = Shape.ellipsoid(Point(76, -62, 104).mirrored(side), Point(74, 38, 66))
      outer.append(buttock.inset(-fat))
      inner.append(buttock)
      let shoulder = shoulder(side)
      outer.append(shoulder.inset(-fat * 0.4 - 3))
      inner.append(shoulder)
    }
    if !patient.male {
      let size = Point(56 + fat * 0.5, 22 + fat * 0.8, 48 + fat * 0.5)
      for side in Side.allCases {
        let breast = Shape.ellipsoid(Point(78, 96 + fat * 0.4, 515).mirrored(side), size)
        outer.append(breast)
      }
    }
    add("", .skin, outer)
    add("", .fat, outer.map { $0.inset(2.2) })
    if !patient.male {
      for side in Side.allCases {
        let place = Point(80, 106 + fat * 0.5, 515).mirrored(side)
        add("", .gland, .ellipsoid(place, Point(30, 12, 27)))
        add("", .fat, .ellipsoid(place + Point(4, -3, 6), Point(12, 7, 9)))
      }
    }
    add("", .muscle, inner)
    addLimbMuscleFat()
    // Fat between the belly's organs, down to the floor of the pelvis.
    let cavity = Profile([
      (75, Point(40, 40, 0)), (110, Point(70, 60, 6)), (160, Point(92, 70, 8)), (210, Point(108, 78 * girth, 6)),
      (260, Point(118, 80 * girth, 4)), (320, Point(118, 82 * girth, 4)), (380, Point(118, 84, 5)),
      (430, Point(100, 70, 8)),
    ]).stack(squareness: 2.3)
    add("", .fat, cavity)
  }

  private func limbs(_ side: Side, grown: Float) -> [Shape] {
    func at(_ x: Float, _ y: Float, _ z: Float) -> Point { Point(x, y, z).mirrored(side) }
    let fat = patient.fat
    let outer = fat * 0.45 + grown
    var shapes = Shape.tube(
      [at(88, -2, 95), at(88, 0, 0), at(86, 2, -160)], [76 + outer, 72 + outer, 64 + outer])
    let arm = fat * 0.25 + grown
    switch patient.arms {
    case .up:
      shapes += Shape.tube(
        [at(135, -14, 596), at(152, -10, 660), at(136, 18, 800), at(110, 45, 990)],
        [48 + arm, 45 + arm, 38 + arm, 34 + arm])
    case .down:
      shapes += Shape.tube(
        [at(145, -20, 612), at(178, -26, 560), at(200, -30, 380), at(196, -8, 180), at(182, 5, 90)],
        [46 + arm, 42 + arm, 37 + arm, 29 + arm, 25 + arm])
      shapes.append(.box(at(178, 10, 35), Point(20, 32, 58) + Point(repeating: grown * 0.4), rounding: 14))
    }
    return shapes
  }

  private func shoulder(_ side: Side) -> Shape {
    let place = patient.arms == .up ? Point(148, -8, 646) : Point(162, -18, 612)
    return .ellipsoid(place.mirrored(side), Point(33, 36, 44))
  }

  /// The layers of fat between the muscles of the thighs and arms.
  private mutating func addLimbMuscleFat() {
    bothSides { body, side in
      func at(_ x: Float, _ y: Float, _ z: Float) -> Point { Point(x, y, z).mirrored(side) }
      let compartments: [(Point, Float)] = [
        (at(106, 34, 0), 27), (at(75, 36, 0), 22), (at(62, -2, 0), 26), (at(82, -38, 0), 27), (at(116, -22, 0), 24),
      ]
      for (place, radius) in compartments {
        let muscle = Shape.rod(place + Point(0, 0, 52), place + Point(0, 0, -170), radius, radius * 0.85)
        body.add("", .fat, muscle.inset(-1.6))
        body.add("", .muscle, muscle)
      }
    }
  }

  /// The named muscles.
  mutating func addMuscles() {
    bothSides { body, side in
      func at(_ x: Float, _ y: Float, _ z: Float) -> Point { Point(x, y, z).mirrored(side) }
      let spine = Landmark.spine
      let levels: [(Float, Float)] = [
        (170, 15), (210, 21), (260, 24), (310, 23), (360, 21), (430, 18), (510, 15), (590, 14), (650, 14), (720, 12),
      ]
      let column = levels.map { at(27 - $0.0 * 0.016, spine($0.0).y - 40 + ($0.0 > 600 ? 8 : 0), $0.0) }
      body.addMuscle("autochthon_\(side)", Shape.tube(column, levels.map(\.1)))
      body.addMuscle(
        "iliopsoas_\(side)",
        Shape.tube(
          [
            at(27, -30, 352), at(36, -24, 310), at(44, -20, 255), at(58, -4, 200), at(76, 18, 150), at(88, 14, 108),
            at(96, -8, 78),
          ],
          [7, 15, 22, 21, 18, 15, 9])
          + [.ellipsoid(at(84, -22, 212), Point(14, 38, 42), turn: .mirrored(z: -34, side))])
      body.addMuscle(
        "gluteus_minimus_\(side)", [.ellipsoid(at(112, 8, 168), Point(10, 30, 38), turn: .mirrored(z: -18, side))])
      body.addMuscle(
        "gluteus_medius_\(side)", [.ellipsoid(at(128, -2, 190), Point(15, 44, 48), turn: .mirrored(z: -22, side))])
      body.addMuscle(
        "gluteus_maximus_\(side)", [.ellipsoid(at(80, -68, 112), Point(60, 25, 64), turn: .mirrored(x: 8, z: 14, side))]
      )
      // Chest, back and shoulder; the neck's.
      let wall = body.wall.inset(1.5)
      func within(_ shapes: [Shape]) -> [Shape] { shapes.map { $0.cut(wall) } }
      body.addMuscle("", within([.ellipsoid(at(82, 82, 575), Point(60, 15, 50), turn: .mirrored(z: -22, side))]))
      body.addMuscle("", within(Shape.tube([at(118, -76, 420), at(132, -60, 500), at(138, -40, 580)], [14, 20, 24])))
      body.addMuscle("", [body.shoulder(side)])
      body.addMuscle("", within([.ellipsoid(at(88, -86, 590), Point(44, 16, 52), turn: .mirrored(z: 22, side))]))
      body.addMuscle("", within(Shape.tube([at(20, -46, 740), at(46, -48, 672), at(94, -46, 642)], [10, 17, 13])))
      body.addMuscle("", within(Shape.tube([at(43, -16, 768), at(38, 8, 710), at(20, 32, 640)], [9, 10, 8])))
    }
  }
}
