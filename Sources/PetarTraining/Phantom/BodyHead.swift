extension Body {
  /// Scalp and muscles, which the vertebrae of the neck are painted over.
  mutating func addScalp() {
    add("", .skin, [.ellipsoid(Point(0, 6, 868), Point(79, 97, 82)), .ellipsoid(Point(0, 34, 788), Point(66, 68, 85))])
    add("", .fat, [.ellipsoid(Point(0, 6, 868), Point(77, 95, 80)), .ellipsoid(Point(0, 34, 788), Point(64, 66, 83))])
    add(
      "", .muscle,
      [
        .ellipsoid(Point(0, 6, 866), Point(75, 93, 77)), .ellipsoid(Point(0, 30, 788), Point(56, 57, 74)),
        .rod(Point(0, -30, 800), Point(0, -28, 740), 46, 44),
      ])
    add(
      "", .skin, [.ellipsoid(Point(0, 104, 806), Point(11, 14, 16)), .ellipsoid(Point(0, 96, 768), Point(24, 8, 10))])
    add("", .fat, .ellipsoid(Point(0, 40, 728), Point(32, 24, 12)))
  }

  /// The skull and what is in and around it.
  mutating func addHead() {
    let skull = Shape.ellipsoid(Point(0, 6, 872), Point(74, 92, 74)).cut { 816 - $0.z - ($0.y < 0 ? 22 : 0) }
    addBone("skull", [skull, .box(Point(0, 4, 812), Point(50, 50, 8), rounding: 6)], shell: 2, marrow: .diploe)
    addFace()
    addBrain()
    bothSides { body, side in
      func at(_ x: Float, _ y: Float, _ z: Float) -> Point { Point(x, y, z).mirrored(side) }
      body.add("", .salivary, .ellipsoid(at(58, 4, 772), Point(11, 19, 24)))
      body.add("", .salivary, .ellipsoid(at(27, 38, 732), Point(10, 15, 13)))
      body.add("", .mucosa, .ellipsoid(at(19, 32, 766), Point(7, 9, 13)))
      body.add("", .lacrimal, .ellipsoid(at(46, 62, 848), Point(6, 8, 6)))
    }
    add("", .mucosa, .ellipsoid(Point(0, 20, 796), Point(15, 9, 12)))
    add("", .salivary, .ellipsoid(Point(0, 62, 736), Point(11, 12, 6)))
    // Larynx and throat.
    add("", .cartilage, .ellipsoid(Point(0, 26, 696), Point(19, 17, 17)))
    add("", .airwayWall, .ellipsoid(Point(0, 24, 696), Point(15, 13, 17)))
    add(
      "", .gas,
      Shape.tube([Point(0, 20, 686), Point(0, 20, 712), Point(0, 22, 750), Point(0, 30, 790)], [7, 8, 10, 8]))
  }

  private mutating func addFace() {
    bothSides { body, side in
      func at(_ x: Float, _ y: Float, _ z: Float) -> Point { Point(x, y, z).mirrored(side) }
      // Orbit, cheek, upper and lower jaw.
      body.addBone("skull", [.ellipsoid(at(33, 56, 836), Point(24, 28, 22))], shell: 2.4, marrow: .diploe)
      body.add("", .fat, .ellipsoid(at(33, 60, 836), Point(20, 30, 17)))
      body.add("", .eye, .ellipsoid(at(33, 69, 836), Point(12, 12, 12)))
      body.add("skull", .cortex, Shape.tube([at(50, 62, 815), at(58, 40, 808), at(58, 12, 812)], [7, 4.5, 5]))
      body.add("skull", .cortex, .ellipsoid(at(25, 62, 800), Point(22, 26, 24)))
      body.add("", .gas, .ellipsoid(at(27, 60, 802), Point(16, 18, 18)))
      let jaw = [at(52, 8, 804), at(49, 14, 764), at(40, 38, 742), at(18, 66, 731), at(0, 73, 730)]
      body.addBone("skull", Shape.tube(jaw, [6, 7, 8, 9, 10]), shell: 2.6, marrow: .diploe)
      body.add("skull", .cortex, Shape.tube([at(29, 42, 772), at(20, 66, 768), at(0, 76, 768)], [6, 6, 6]))
      body.add("", .cortex, Shape.tube([at(27, 48, 754), at(17, 66, 750), at(0, 74, 750)], 5))
      body.add("", .gas, .ellipsoid(at(62, -22, 802), Point(7, 11, 13)))
      body.add("skull", .cortex, .ellipsoid(at(54, -8, 812), Point(13, 12, 11)).cut { 802 - $0.z })
      body.add("", .skin, .ellipsoid(at(72, -2, 826), Point(6, 14, 26)))
    }
    // Tongue, palate, nasal cavity with its septum.
    add("", .muscle, .ellipsoid(Point(0, 54, 752), Point(24, 27, 19)))
    add("skull", .cortex, .box(Point(0, 56, 778), Point(24, 26, 3), rounding: 2))
    add("", .mucosa, .ellipsoid(Point(0, 66, 800), Point(13, 27, 20)))
    bothSides { body, side in
      body.add("", .gas, .ellipsoid(Point(6, 66, 798).mirrored(side), Point(3, 25, 17)))
      body.add("", .gas, .ellipsoid(Point(9, 48, 824).mirrored(side), Point(6, 20, 8)))
    }
    add("", .gas, .ellipsoid(Point(0, 90, 866), Point(16, 6, 10)).cut(.ellipsoid(Point(0, 6, 872), Point(71, 89, 71))))
  }

  private mutating func addBrain() {
    let brain = Shape.ellipsoid(Point(0, 6, 876), Point(66, 84, 64)).cut { 824 - $0.z }
    add("brain", .csf, brain)
    add("brain", .greyMatter, brain.inset(2))
    add("brain", .cerebellum, .ellipsoid(Point(0, -46, 822), Point(49, 32, 24)))
    add("brain", .whiteMatter, .rod(Point(0, -12, 846), Point(0, -20, 792), 14, 9))
    bothSides { body, side in
      func at(_ x: Float, _ y: Float, _ z: Float) -> Point { Point(x, y, z).mirrored(side) }
      // White matter with fingers into the gyri.
      body.add("brain", .whiteMatter, .ellipsoid(at(28, 4, 884), Point(22, 58, 34)))
      for _ in 0..<16 {
        let toward = body.random.inBall()
        let end = at(30, 4, 884) + Point(toward.x * 34 + 6, toward.y * 78, toward.z * 50).mirrored(.right)
        body.add("brain", .whiteMatter, Shape.rod(at(28, end.y * 0.6, 884), end, 7, 4).cut(brain.inset(9)))
      }
      body.add("brain", .deepGrey, .ellipsoid(at(13, -4, 866), Point(9, 16, 11)))
      body.add("brain", .deepGrey, .ellipsoid(at(24, 16, 868), Point(7, 17, 12)))
      body.add("brain", .csf, Shape.tube([at(11, 38, 882), at(8, 6, 888), at(16, -34, 880)], [5, 4.5, 6]))
    }
    add("brain", .csf, .box(Point(0, 6, 912), Point(1.2, 76, 28), rounding: 1))
    add("", .pituitary, .ellipsoid(Point(0, 28, 830), Point(6, 5, 5)))
  }
}
