extension Body {
  mutating func addPelvis() {
    bothSides { body, side in
      func at(_ x: Float, _ y: Float, _ z: Float) -> Point { Point(x, y, z).mirrored(side) }
      // Fat around the vessels of the groin and along the wall of the pelvis.
      body.add("", .fat, .ellipsoid(at(74, 56, 100), Point(22, 18, 36)).cut(body.wall.inset(2)))
      let artery = [at(3, -5, 244), at(22, -8, 220), at(38, -6, 196), at(56, 14, 156), at(70, 40, 118), at(76, 50, 96)]
      body.add("iliac_artery_\(side)", .blood, Shape.tube(artery, [7, 6.5, 6, 5.5, 5, 5]))
      let internalArtery = [at(38, -8, 196), at(42, -34, 168), at(44, -44, 140)]
      body.add("iliac_artery_\(side)", .blood, Shape.tube(internalArtery, [4.5, 4, 3.5]))
      let vein = [
        Point(18, -8, 244), at(24, -18, 220), at(40, -18, 194), at(54, 2, 154), at(64, 32, 118), at(66, 42, 96),
      ]
      body.add("iliac_vena_\(side)", .blood, Shape.tube(vein, [8, 8, 7.5, 7, 6.5, 6.5]))
      body.add("", .blood, Shape.tube([at(76, 50, 96), at(78, 42, 40), at(76, 26, -40)], [5, 4.5, 4]))
      body.add("", .blood, Shape.tube([at(66, 42, 96), at(72, 34, 40), at(74, 20, -40)], [6.5, 5.5, 5]))
      // The obturator and levator muscles line the small pelvis.
      body.add("", .muscle, .ellipsoid(at(58, 4, 96), Point(9, 34, 32), turn: .mirrored(z: -14, side)))
    }
    let fill = random.uniform(0.72...1.2)
    add("urinary_bladder", .muscle, .ellipsoid(Point(0, 32, 122), Point(40, 34, 27) * fill))
    add("urinary_bladder", .urine, .ellipsoid(Point(0, 32, 122), Point(40, 34, 27) * fill - Point(repeating: 3)))
    if patient.male {
      let size = random.uniform(0.85...1.2)
      add("prostate", .prostate, .ellipsoid(Point(0, 18, 84), Point(24, 18, 19) * size))
      add("", .urineTract, .rod(Point(0, 20, 100), Point(0, 20, 66), 2.2))
      bothSides { body, side in
        body.add("", .prostate, .ellipsoid(Point(16, -8, 106).mirrored(side), Point(17, 7, 8)))
        body.add("", .skin, .ellipsoid(Point(17, 66, 28).mirrored(side), Point(21, 23, 26)))
        body.add("", .testis, .ellipsoid(Point(16, 68, 26).mirrored(side), Point(13, 15, 19)))
      }
      add("", .muscle, Shape.tube([Point(0, 50, 70), Point(0, 86, 62), Point(0, 92, 36)], [12, 12, 11]))
    } else {
      add("", .uterus, .ellipsoid(Point(0, 4, 140), Point(26, 34, 22), turn: Turn(x: 20)))
      add("", .uterus, .rod(Point(0, -12, 122), Point(0, -14, 96), 12, 9))
      bothSides { body, side in
        body.add("", .uterus, .ellipsoid(Point(40, -4, 146).mirrored(side), Point(13, 10, 15)))
      }
    }
  }
}
