import Glibc

extension Body {
  mutating func addChest() {
    addLungs()
    addMediastinum()
    addHeart()
    addGreatVessels()
    addAirwayAndEsophagus()
  }

  /// z of the oblique fissure at a depth: from T4 behind to the diaphragm in front.
  private static func fissure(_ point: Point) -> Float { point.z - (588 - 1.1 * (point.y + 80)) }
  private static let horizontalFissure: Float = 506

  private mutating func addLungs() {
    let inside = Landmark.cage.stack().inset(6)
    bothSides { body, side in
      let dome = side == .right ? Landmark.dome.right : Landmark.dome.left
      let sign: Float = side == .right ? 1 : -1
      let lung = inside.cut { 9 - sign * $0.x }.without(dome).cut { 368 - $0.z }
      body.add("lung_lower_lobe_\(side)", .lung, lung.cut { Self.fissure($0) * 0.67 })
      let above = lung.cut { -Self.fissure($0) * 0.67 }
      if side == .right {
        body.add("lung_upper_lobe_right", .lung, above.cut { Self.horizontalFissure - $0.z })
        body.add("lung_middle_lobe_right", .lung, above.cut { $0.z - Self.horizontalFissure })
      } else {
        body.add("lung_upper_lobe_left", .lung, above)
      }
      body.addLungVessels(side, within: lung.inset(3))
    }
  }

  /// Branching vessels from the hilum outwards.
  private mutating func addLungVessels(_ side: Side, within lung: Shape) {
    let hilum = Point(34, -14, 532).mirrored(side)
    var shapes: [Shape] = []
    for _ in 0..<34 {
      var direction = random.inBall()
      direction = Point(abs(direction.x) + 0.15, direction.y, direction.z * 1.3).mirrored(side)
      direction /= max(direction.length, 0.01)
      var place = hilum
      var radius = random.uniform(2.8...4.6)
      let steps = 6
      let stride = random.uniform(15...23)
      for _ in 0..<steps {
        let next = place + direction * stride
        shapes.append(.rod(place, next, radius, radius * 0.76).cut(lung))
        if radius > 1.6 {
          let aside = direction + random.inBall() * 0.9
          let side = next + aside / max(aside.length, 0.01) * stride * 1.2
          shapes.append(.rod(next, side, radius * 0.6, radius * 0.35).cut(lung))
        }
        direction += random.inBall() * 0.35
        direction /= max(direction.length, 0.01)
        place = next
        radius *= 0.76
      }
    }
    add(nil, .lungVessel, shapes)
  }

  private mutating func addMediastinum() {
    add(
      "", .fat,
      [
        .ellipsoid(Point(-2, 14, 560), Point(33, 74, 112)), .ellipsoid(Point(-22, 36, 478), Point(64, 58, 52)),
        .ellipsoid(Point(-8, -34, 470), Point(26, 26, 120)), .ellipsoid(Point(0, -8, 640), Point(40, 34, 44)),
      ])
  }

  private mutating func addHeart() {
    let axis = Turn(x: 18, y: 0, z: 38)
    let size = random.uniform(0.92...1.1)
    let whole: [Shape] = [
      .ellipsoid(Point(-36, 38, 478), Point(38, 52, 40) * size, turn: axis),
      .ellipsoid(Point(4, 40, 488), Point(34, 36, 42) * size),
      .ellipsoid(Point(-10, 2, 506), Point(36, 22, 27)),
    ]
    add("heart", .blood, whole)
    // The left ventricle's wall, which glucose tracers show as a horseshoe, and thin walls elsewhere.
    add("heart", .myocardium, .ellipsoid(Point(-46, 38, 474), Point(33, 46, 35), turn: axis))
    add("heart", .blood, .ellipsoid(Point(-41, 33, 477), Point(21, 36, 23), turn: axis))
    add("atrial_appendage_left", .blood, .ellipsoid(Point(-44, 22, 524), Point(10, 15, 9)))
    add(
      "pulmonary_vein", .blood,
      Side.allCases.flatMap { side -> [Shape] in
        func at(_ x: Float, _ y: Float, _ z: Float) -> Point { Point(x, y, z).mirrored(side) }
        let middle = Point(-8, -6, 510)
        return [.rod(middle, at(44, -20, 528), 8, 5.5), .rod(middle, at(46, -26, 498), 7.5, 5.5)]
      })
  }

  private mutating func addGreatVessels() {
    // Pulmonary trunk and arteries: TotalSegmentator has no class for them.
    add("", .blood, Shape.tube([Point(-14, 42, 518), Point(-16, 26, 545), Point(-6, 8, 552)], 13))
    add("", .blood, Shape.tube([Point(-6, 8, 552), Point(18, 0, 548), Point(40, -14, 540)], [11, 10, 7]))
    add("", .blood, Shape.tube([Point(-6, 8, 552), Point(-28, -4, 550), Point(-42, -18, 542)], [11, 10, 7]))
    add("superior_vena_cava", .blood, Shape.tube([Point(26, 22, 500), Point(27, 18, 560), Point(26, 14, 598)], 9.5))
    add(
      "aorta", .blood,
      Shape.tube(
        [
          Point(-6, 30, 512), Point(10, 34, 540), Point(16, 28, 570), Point(8, 12, 596), Point(-10, -14, 598),
          Point(-20, -32, 578), Point(-20, -36, 540), Point(-17, -36, 470), Point(-13, -31, 420), Point(-9, -20, 372),
          Point(-7, -12, 340), Point(-5, -6, 300), Point(-3, -4, 262), Point(-1, -5, 246),
        ], [15, 15.5, 15.5, 14, 13, 12.5, 12, 11.5, 11, 10.5, 10, 9.5, 9, 8.5]))
    add(
      "brachiocephalic_trunk", .blood,
      Shape.tube([Point(8, 14, 600), Point(16, 14, 622), Point(24, 6, 636)], [7.5, 7]))
    add(
      "brachiocephalic_vein_right", .blood,
      Shape.tube([Point(26, 15, 598), Point(30, 18, 622), Point(36, 14, 640)], 7.5))
    add(
      "brachiocephalic_vein_left", .blood,
      Shape.tube([Point(26, 20, 602), Point(2, 34, 612), Point(-24, 26, 628), Point(-36, 14, 640)], 7))
    bothSides { body, side in
      let right = side == .right
      let arch = right ? Point(24, 6, 636) : Point(-14, -12, 602)
      func at(_ x: Float, _ y: Float, _ z: Float) -> Point { Point(x, y, z).mirrored(side) }
      body.add(
        "subclavian_artery_\(side)", .blood,
        Shape.tube([arch, at(24, -8, 642), at(56, -6, 652), at(92, -4, 646)], [6.5, 5.5, 5, 4.5]))
      let origin = right ? Point(24, 6, 636) : Point(-4, 0, 602)
      body.add(
        "common_carotid_artery_\(side)", .blood,
        Shape.tube([origin, at(20, 6, 648), at(24, 12, 690), at(27, 8, 732)], [5.5, 5, 4.5, 4.5]))
      // Jugular and axillary veins.
      body.add("", .blood, Shape.tube([at(36, 14, 640), at(34, 14, 690), at(36, 6, 740)], 5.5))
      body.add("", .blood, Shape.tube([at(36, 14, 640), at(80, 6, 640), at(122, -2, 610)], [6, 5, 4]))
    }
    add(
      "inferior_vena_cava", .blood,
      Shape.tube(
        [
          Point(20, -6, 244), Point(22, -3, 300), Point(24, 0, 350), Point(25, 0, 400), Point(22, 8, 440),
          Point(16, 18, 470),
        ], [11, 11.5, 12, 12.5, 13, 13]))
  }

  private mutating func addAirwayAndEsophagus() {
    add(
      "esophagus", .esophagus,
      Shape.tube(
        [
          Point(-2, 2, 678), Point(-5, -10, 640), Point(-6, -24, 600), Point(-4, -30, 560), Point(-4, -28, 500),
          Point(-12, -20, 450), Point(-22, -12, 420), Point(-34, -4, 402),
        ], [7, 8, 8, 8, 8, 8.5, 8.5, 9]))
    let windpipe = [Point(0, 18, 690), Point(1, 10, 650), Point(3, -2, 610), Point(4, -10, 572)]
    let bronchi: [[Point]] = [
      [Point(4, -10, 572), Point(22, -14, 556), Point(40, -20, 540)],
      [Point(4, -10, 572), Point(-18, -16, 552), Point(-40, -22, 536)],
    ]
    add("", .airwayWall, Shape.tube(windpipe, 11))
    for bronchus in bronchi { add("", .airwayWall, Shape.tube(bronchus, [9, 8, 6.5])) }
    add("trachea", .gas, Shape.tube(windpipe, 8.5))
    for bronchus in bronchi { add("", .gas, Shape.tube(bronchus, [7, 6, 4.5])) }
    bothSides { body, side in
      let lobe = Point(17, 20, 664).mirrored(side)
      body.add("thyroid_gland", .thyroid, .ellipsoid(lobe, Point(9, 10, 22)))
    }
    add("thyroid_gland", .thyroid, .rod(Point(-12, 28, 656), Point(12, 28, 656), 4.5))
  }
}
