import Glibc

extension Body {
  mutating func addAbdomen() {
    addBowel()
    addLiver()
    addKidneys()
    addSpleen()
    addStomachAndPancreas()
  }

  private mutating func addLiver() {
    let inside = Landmark.cage.stack().inset(9)
    let underDome = Landmark.dome.right.inset(4)
    // Below the ribs the right lobe is free.
    let length = random.uniform(0.9...1.1)
    let right = Shape.ellipsoid(Point(74, 6, 372), Point(64, 80, 84 * length), turn: Turn(y: -8)).cut(inside)
    let left = Shape.ellipsoid(Point(2, 42, 392), Point(78, 38, 36), turn: Turn(y: 10)).cut(inside)
    add(
      "liver", .liver,
      [right.cut { max(underDome.distance($0), -1000) }, left, Shape.ellipsoid(Point(44, 18, 400), Point(50, 56, 46))])
    add(
      "portal_vein_and_splenic_vein", .blood,
      Shape.tube([Point(60, 12, 388), Point(36, 14, 362), Point(14, 12, 336)], [5, 7, 7.5]))
    add(
      "portal_vein_and_splenic_vein", .blood,
      Shape.tube([Point(14, 12, 336), Point(-20, 6, 340), Point(-60, -16, 356), Point(-80, -30, 366)], [6, 5, 4.5, 4]))
    // Hepatic veins, which belong to the liver's label.
    for end in [Point(98, 20, 410), Point(58, 54, 412), Point(6, 40, 404)] {
      add(nil, .blood, .rod(Point(26, 0, 426), end, 4.5, 2.5))
    }
    let full = random.uniform(0.75...1.15)
    add("gallbladder", .bile, .ellipsoid(Point(54, 58, 326), Point(14, 16, 27) * full, turn: Turn(x: 18)))
  }

  private mutating func addSpleen() {
    let inside = Landmark.cage.stack().inset(9)
    let size = random.uniform(0.88...1.15)
    add(
      "spleen", .spleen,
      Shape.ellipsoid(Point(-84, -36, 380), Point(25, 42, 52) * size, turn: Turn(x: -18, y: 12, z: -20)).cut(inside))
  }

  private mutating func addStomachAndPancreas() {
    let path = [
      Point(-46, 4, 404), Point(-58, 22, 384), Point(-62, 38, 350), Point(-46, 52, 318), Point(-14, 58, 308),
      Point(14, 50, 322),
    ]
    let fullness = random.uniform(0.8...1.12)
    let radii: [Float] = [28, 28, 25, 20, 16, 11].map { $0 * fullness }
    add("stomach", .stomach, Shape.tube(path, radii))
    let lumen = Shape.tube(path, radii.map { $0 - 5.5 })
    add("stomach", .stomachFluid, lumen)
    // Air rises to the front of a patient on the back.
    let level = random.uniform(34...48)
    add("stomach", .gas, lumen.map { $0.cut { level - $0.y } })
    add(
      "pancreas", .pancreas,
      Shape.tube(
        [
          Point(28, 14, 296), Point(30, 20, 316), Point(8, 26, 328), Point(-26, 16, 338), Point(-58, -4, 350),
          Point(-82, -22, 364),
        ],
        [11, 14, 10, 10.5, 10, 8]))
    add(
      "duodenum", .duodenum,
      Shape.tube(
        [
          Point(16, 48, 324), Point(40, 38, 332), Point(54, 16, 322), Point(54, 6, 288), Point(42, 6, 262),
          Point(8, 10, 258),
          Point(-20, 10, 272), Point(-26, 20, 296),
        ], [12, 12.5, 12.5, 12, 11.5, 11, 11, 10.5]))
    bothSides { body, side in
      let top = (side == .right ? Point(36, -30, 376) : Point(-40, -24, 372))
      func away(_ x: Float, _ y: Float, _ z: Float) -> Point { top + Point(x, y, z).mirrored(side) }
      body.add("", .fat, .ellipsoid(away(2, -4, -12), Point(16, 14, 20)))
      body.add(
        "adrenal_gland_\(side)", .adrenal,
        [.rod(top, away(1, -8, -24), 4, 3.2), .rod(top, away(14, -10, -22), 4, 3), .rod(away(0, 6, 2), top, 3.4)])
    }
  }

  private mutating func addKidneys() {
    bothSides { body, side in
      let centre = side == .right ? Point(66, -44, 306) : Point(-66, -42, 320)
      func turn(_ z: Float) -> Turn { .mirrored(x: 10, y: 8, z: z, side) }
      let size = body.random.uniform(0.92...1.08)
      body.add("", .fat, .ellipsoid(centre, Point(36, 33, 66) * size, turn: turn(22)))
      body.add("kidney_\(side)", .kidney, .ellipsoid(centre, Point(27, 24, 54) * size, turn: turn(22)))
      let hilum = centre + Point(-18, 8, 0).mirrored(side)
      body.add("", .fat, .ellipsoid(hilum, Point(14, 10, 22) * size, turn: turn(22)))
      body.add(
        "", .urineTract,
        [
          .ellipsoid(hilum + Point(1, 0, 0).mirrored(side), Point(8, 7, 15) * size),
          .rod(hilum, hilum + Point(-9, 8, -16).mirrored(side), 5, 3),
        ])
      if body.random.chance(0.15) {
        let place = centre + turn(22)(Point(20, 6, body.random.uniform(-34...34)).mirrored(side))
        body.add("kidney_cyst_\(side)", .stomachFluid, .ellipsoid(place, Point(repeating: body.random.uniform(9...15))))
      }
      // The ureter, seen in pieces, as it moves.
      let course = [
        hilum + Point(-9, 8, -16).mirrored(side), Point(40, -6, 260).mirrored(side), Point(36, -2, 210).mirrored(side),
        Point(52, -14, 160).mirrored(side), Point(30, -8, 124).mirrored(side),
      ]
      for piece in Shape.tube(course, 2.6) where body.random.chance(0.6) { body.add("", .urineTract, piece) }
    }
  }

  private mutating func addBowel() {
    addSmallBowel()
    let path = [
      Point(84, 22, 168), Point(96, 12, 200), Point(102, 0, 250), Point(100, 2, 292), Point(84, 34, 306),
      Point(56, 62, 286),
      Point(14, 74, 270), Point(-30, 72, 274), Point(-66, 56, 306), Point(-94, 16, 342), Point(-104, -12, 318),
      Point(-106, -14, 270), Point(-102, 0, 222), Point(-82, 20, 186), Point(-50, 28, 176), Point(-24, 8, 190),
      Point(8, -6, 176), Point(4, -34, 158), Point(0, -52, 134), Point(0, -52, 110), Point(0, -34, 84),
    ]
    // Haustra: the width goes up and down along the way.
    var points: [Point] = []
    var radii: [Float] = []
    for index in 0..<(path.count - 1) {
      let pieces = 3
      for piece in 0..<pieces {
        let share = Float(piece) / Float(pieces)
        points.append(path[index] + (path[index + 1] - path[index]) * share + random.inBall() * 3)
        let width: Float = index < 4 ? 25 : index < 10 ? 20 : index < 16 ? 16.5 : 17
        radii.append(width * (piece == 1 ? 1.12 : 0.88) * random.uniform(0.9...1.08))
      }
    }
    add("colon", .colon, Shape.tube(points, radii))
    add("colon", .stool, Shape.tube(points, radii.map { $0 - 4 }))
    var bubbles: [Shape] = []
    for index in points.indices where random.chance(0.42) {
      let radius = radii[index] - 4.5
      let level = points[index].y + random.uniform(-0.2...0.5) * radius
      bubbles.append(.ellipsoid(points[index], Point(radius, radius, radius * 1.5)).cut { level - $0.y })
    }
    add("colon", .gas, bubbles)
  }

  /// A coil that wanders through the middle of the belly.
  private mutating func addSmallBowel() {
    var walls: [Shape] = []
    var contents: [Shape] = []
    for loop in 0..<9 {
      let height = 150 + Float(loop) * 15.5
      let reach: Float = loop < 2 ? 46 : 74
      let forward = loop.isMultiple(of: 2)
      var previous: Point?
      for step in 0...6 {
        let across = (Float(step) / 6 * 2 - 1) * reach * (forward ? 1 : -1)
        let depth = random.uniform(14...64)
        let place = Point(across + random.uniform(-12...12), depth, height + random.uniform(-13...13))
        if let previous {
          let radius = random.uniform(9.5...12.5)
          walls.append(.rod(previous, place, radius))
          contents.append(.rod(previous, place, radius - 3.5))
        }
        previous = place
      }
    }
    // Mesenteric vessels.
    for _ in 0..<14 {
      let end = Point(random.uniform(-55...55), random.uniform(14...44), random.uniform(170...280))
      add("", .blood, .rod(Point(2, 12, 285), end, 3, 1.6))
    }
    add("small_bowel", .smallBowel, walls)
    add("small_bowel", .stomachFluid, contents.enumerated().filter { $0.offset % 3 != 0 }.map(\.element))
  }
}
