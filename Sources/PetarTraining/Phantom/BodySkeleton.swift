import Glibc

extension Body {
  mutating func addSkeleton() {
    addShoulders()
    addRibs()
    addPelvisBones()
    addSpine()
  }

  private mutating func addSpine() {
    let spine = Landmark.spine
    // Discs fill the column; the vertebrae are painted over them.
    for (upper, lower) in zip(Landmark.vertebrae, Landmark.vertebrae.dropFirst()) {
      let middle = (upper.z + lower.z) / 2
      add("", .disc, .box(Point(0, (upper.y + lower.y) / 2, middle), Point(lower.half.x, lower.half.y, 5), rounding: 4))
    }
    for vertebra in Landmark.vertebrae {
      let (z, y, half) = (vertebra.z, vertebra.y, vertebra.half)
      let back = y - half.y
      var shapes: [Shape] = [.box(Point(0, y, z), half, rounding: min(half.z, half.y) * 0.55)]
      let canal = half.x * 0.68
      for side in Side.allCases {
        func at(_ x: Float, _ y: Float, _ z: Float) -> Point { Point(x, y, z).mirrored(side) }
        // Pedicle, transverse process, lamina.
        shapes.append(.rod(at(canal, back + 4, z + half.z * 0.3), at(canal + 1, back - 12, z), 4.2))
        shapes.append(.rod(at(canal + 1, back - 11, z), at(half.x * 1.65, back - 16, z - 1), 4.2, 3.2))
        shapes.append(.rod(at(canal + 1, back - 13, z - 1), at(1, back - 23, z - 3), 4.2))
      }
      let slope: Float = vertebra.name.hasPrefix("T") ? 18 : 5
      shapes.append(.rod(Point(0, back - 22, z - 4), Point(0, back - 38, z - 4 - slope), 4, 3.4))
      addBone("vertebrae_\(vertebra.name)", shapes, shell: 1.8)
    }
    let heights = stride(from: Float(300), through: 780, by: 40)
    let canal = heights.map { height -> Point in
      let near = Landmark.vertebrae.min { abs($0.z - height) < abs($1.z - height) }
      return Point(0, spine(height).y - (near?.half.y ?? 15) - 9, height)
    }
    add("", .csf, Shape.tube(canal, 8))
    add("spinal_cord", .cord, Shape.tube(canal, 5.2))
  }

  private mutating func addRibs() {
    let cage = Landmark.cage
    var cartilage: [Shape] = []
    bothSides { body, side in
      for index in 0..<12 {
        let vertebra = Landmark.vertebrae[index + 7]
        let head = Point(vertebra.half.x + 3, vertebra.y - vertebra.half.y + 2, vertebra.z + 4)
        let steps = 14
        let course = (0...steps).map { Landmark.rib(index, share: Float($0) / Float(steps)) }
        let last = course[steps]
        let points = ([head] + course).map { $0.mirrored(side) }
        body.addBone("rib_\(side)_\(index + 1)", Shape.tube(points, index == 11 ? 4.2 : 5.2), shell: 1.9)
        guard index < 10 else { continue }
        // Cartilage climbs from the rib's end to the breastbone, or to the cartilage above.
        let goal = max(626 - Float(index) * 23, 462)
        let front = cage(goal)
        let inner = Point(19 - min(Float(index), 6) * 1.2, front.z + front.y - 3, goal)
        let between = (last + inner) / 2 + Point(0, 3, -7)
        cartilage += Shape.tube([last, between, inner].map { $0.mirrored(side) }, 5)
      }
    }
    add("costal_cartilages", .cartilage, cartilage)
    let sternum = stride(from: Float(464), through: 628, by: 20).map { height -> Point in
      let size = cage(height)
      return Point(0, size.z + size.y - 2, height)
    }
    var plates: [Shape] = []
    for (low, high) in zip(sternum, sternum.dropFirst()) {
      let middle = (low + high) / 2
      plates.append(.box(middle, Point(low.z > 590 ? 27 : 18, 6, 13), rounding: 5))
    }
    addBone("sternum", plates, shell: 1.8)
    add("sternum", .cartilage, .rod(Point(0, 98, 462), Point(0, 98, 440), 5))
  }

  private mutating func addShoulders() {
    bothSides { body, side in
      func at(_ x: Float, _ y: Float, _ z: Float) -> Point { Point(x, y, z).mirrored(side) }
      let up = body.patient.arms == .up
      let joint = up ? at(134, -22, 652) : at(150, -22, 618)
      let shaft =
        up
        ? [joint, at(150, -8, 690), at(136, 18, 800), at(110, 45, 1000)]
        : [joint, at(170, -26, 586), at(198, -30, 400), at(197, -20, 360)]
      body.addBone(
        "clavicula_\(side)",
        Shape.tube(
          [at(20, 62, 630), at(58, 48, 642), at(98, 14, 652), up ? at(118, -12, 662) : at(136, -10, 640)],
          [8, 6.5, 6, 7]))
      let blade = up ? at(104, -76, 590) : at(92, -84, 575)
      let plate = Shape.ellipsoid(blade, Point(40, 4.5, 62), turn: .mirrored(x: -8, y: up ? -22 : -6, z: 30, side))
      body.addBone(
        "scapula_\(side)",
        [
          plate, .rod(blade + Point(-28, -12, 30).mirrored(side), joint + Point(6, -14, 16).mirrored(side), 5.5, 7),
          .ellipsoid(joint + Point(-22, 0, -6).mirrored(side), Point(10, 14, 18)),
        ],
        shell: 1.6)
      let humerus = Shape.tube(shaft, [18, 14, 12, 12])
      body.addBone("humerus_\(side)", [.ellipsoid(joint, Point(24, 23, 24)), humerus[0]], shell: 2.4)
      body.addBone("humerus_\(side)", Array(humerus[1...]), shell: 4, marrow: .fat)
      guard !up else { return }
      // Forearm and hand, which have no class.
      for offset in [Point(-8, 4, 0), Point(8, -4, 0)] {
        let forearm = [at(197, -18, 350), at(194, -6, 200), at(183, 4, 96)].map { $0 + offset.mirrored(side) }
        body.add("", .cortex, Shape.tube(forearm, [8, 6, 7]))
      }
      for finger in 0..<4 {
        let depth = Float(finger) * 11 - 12
        body.add(
          "", .cortex,
          Shape.tube([at(181, 6 + depth, 84), at(178, 8 + depth, 40), at(176, 12 + depth, -12)], [5, 4, 3.2]))
      }
    }
  }

  private mutating func addPelvisBones() {
    add("", .cartilage, .box(Point(0, 60, 90), Point(4, 9, 16), rounding: 3))
    bothSides { body, side in
      func at(_ x: Float, _ y: Float, _ z: Float) -> Point { Point(x, y, z).mirrored(side) }
      let wing = Shape.ellipsoid(at(96, -20, 196), Point(8.5, 66, 58), turn: .mirrored(y: 14, z: -34, side))
      let socket = Shape.ellipsoid(at(84, 2, 122), Point(34, 34, 36)).without(
        .ellipsoid(at(95, 3, 120), Point(28, 27, 27)))
      let shapes: [Shape] = [
        wing, socket, .rod(at(62, -46, 178), at(80, -4, 140), 15, 16), .rod(at(58, -62, 190), at(70, -44, 200), 13, 9),
        .rod(at(74, -24, 108), at(62, -42, 68), 16, 15), .rod(at(72, 26, 122), at(16, 60, 96), 11, 9),
        .rod(at(15, 58, 88), at(54, -30, 62), 8, 9),
      ]
      body.addBone("hip_\(side)", shapes, shell: 2.4)
      let femur: [Shape] =
        [
          .ellipsoid(at(94, 3, 121), Point(24, 24, 24)), .rod(at(96, 2, 120), at(128, -8, 92), 16, 19),
          .rod(at(136, -12, 108), at(128, -10, 84), 14, 17),
        ]
        + Shape.tube([at(127, -9, 88), at(118, -2, 30), at(104, 6, -170)], [18, 15.5, 14.5])
      body.add("femur_\(side)", .cortex, femur)
      body.add("femur_\(side)", .marrow, Array(femur[..<3]).map { $0.inset(2.4) })
      body.add("femur_\(side)", .marrow, Shape.tube([at(127, -9, 88), at(118, -2, 40)], [14, 10]))
      // Adults' shafts hold fat.
      body.add("femur_\(side)", .fat, Shape.tube([at(118, -2, 34), at(104, 6, -170)], [8.5, 8]))
    }
    addBone(
      "vertebrae_S1",
      [
        .box(Point(0, -46, 172), Point(27, 20, 15), rounding: 9, turn: Turn(x: 24)),
        .box(Point(0, -60, 176), Point(54, 14, 16), rounding: 10, turn: Turn(x: 24)),
      ])
    addBone(
      "sacrum",
      [
        .box(Point(0, -72, 148), Point(47, 15, 16), rounding: 11, turn: Turn(x: 24)),
        .box(Point(0, -86, 122), Point(34, 12, 16), rounding: 9, turn: Turn(x: 12)),
        .box(Point(0, -89, 98), Point(21, 9, 14), rounding: 7), .rod(Point(0, -86, 86), Point(0, -76, 64), 6, 4),
      ])
    add("sacrum", .fat, Shape.tube([Point(0, -82, 170), Point(0, -94, 128)], [6, 4]))
  }
}
