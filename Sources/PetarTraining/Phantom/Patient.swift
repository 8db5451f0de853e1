import Glibc

/// What sets one patient apart: sex, stature, fat, posture, and how the atlas is bent to fit.
struct Patient: Sendable {
  enum Arms { case up, down }

  let seed: UInt64
  let tracer: Tracer
  let male: Bool
  /// Subcutaneous fat at the waist in millimetres.
  let fat: Float
  /// Depth of the fat between the organs, in proportion.
  let girth: Float
  let muscle: Float
  let arms: Arms
  /// CT with contrast medium in the portal venous phase.
  let enhanced: Bool
  /// SUV of each tissue, in the order of `Tissue.allCases`.
  let suv: [Float]
  let warp: Warp

  /// - Parameters:
  ///   - dataset: the data set's seed.
  ///   - number: of the patient in the data set.
  init(dataset: UInt64, number: Int) {
    var random = PhantomRandom(dataset, UInt64(number), 1)
    seed = random.next()
    tracer = random.pick(Tracer.allCases)
    male = tracer.malesOnly || random.chance(0.5)
    fat = random.uniform(0...1) * random.uniform(10...30) + (male ? 7 : 11)
    girth = random.uniform(0.96...1.07)
    muscle = random.uniform(0.9...1.1)
    arms = random.chance(0.7) ? .up : .down
    enhanced = random.chance(0.45)
    let tracer = tracer
    suv = Tissue.allCases.map { tissue in
      let normal = max(-2, min(2, random.normal()))
      return tissue.suv(tracer) * exp(tissue.spread * normal)
    }
    let height: Float = (male ? 1.0 : 0.94) * random.uniform(0.93...1.06)
    let width: Float = (male ? 1.0 : 0.95) * random.uniform(0.93...1.06)
    warp = Warp(
      scale: Point(width, (male ? 1.0 : 0.96) * random.uniform(0.94...1.06), height), random: &random)
  }

  func suv(_ tissue: Tissue) -> Float { suv[tissue.rawValue] }
  func hu(_ tissue: Tissue) -> Float { tissue.hu(enhanced: enhanced) }
}

/// Takes places of the scanner to places of the atlas: scaling, a slight tilt, and smooth waves that make every organ
/// of every patient a little different.
struct Warp: Sendable {
  /// Longest displacement by the waves along one axis, in millimetres of the atlas.
  static let reach: Float = 6
  private static let waves = 4

  private struct Wave {
    let amplitude: Float
    let frequency: Point
    let phase: Point
  }

  let scale: Point
  private let turn: Turn
  private let waves: [[Wave]]
  /// The tilt turns about this place.
  private static let pivot = Point(0, 0, 450)

  init(scale: Point, random: inout PhantomRandom) {
    self.scale = scale
    turn = Turn(x: random.uniform(-1.5...1.5), y: random.uniform(-1.2...1.2), z: random.uniform(-3...3))
    waves = (0..<3).map { _ in
      (0..<Self.waves).map { _ in
        Wave(
          amplitude: random.uniform(0.5...1) * Self.reach / Float(Self.waves),
          frequency: Point(
            random.uniform(0.008...0.03), random.uniform(0.008...0.03), random.uniform(0.006...0.022)),
          phase: Point(random.uniform(0...6.28), random.uniform(0...6.28), random.uniform(0...6.28)))
      }
    }
  }

  /// Where a place of the atlas comes to lie, waves left out.
  func world(_ atlas: Point) -> Point { turn((atlas - Self.pivot) * scale) + Self.pivot }

  private func straightAtlas(_ world: Point) -> Point { turn.inverse(world - Self.pivot) / scale + Self.pivot }

  /// How many mm3 of the atlas a mm3 of the scanner is.
  var atlasVolume: Float { 1 / (scale.x * scale.y * scale.z) }

  func atlas(_ world: Point) -> Point {
    var displacement = Point.zero
    for axis in 0..<3 {
      for wave in waves[axis] {
        let angle = wave.frequency * world + wave.phase
        displacement[axis] += wave.amplitude * sin(angle.x) * sin(angle.y) * sin(angle.z)
      }
    }
    return straightAtlas(world) + displacement
  }

  /// The atlas place of every voxel of a slice, x fastest. The waves are products of one sine for each axis, so the
  /// sines are taken once for each column and row.
  func atlas(slice: Int, of grid: PhantomGrid, into places: UnsafeMutableBufferPointer<Point>) {
    let (columns, rows) = (grid.shape.x, grid.shape.y)
    let z = grid.place(0, 0, slice).z
    let count = 3 * Self.waves
    var alongX = [Float](repeating: 0, count: count * columns)
    var alongYZ = [Float](repeating: 0, count: count * rows)
    for axis in 0..<3 {
      for (index, wave) in waves[axis].enumerated() {
        let row = (axis * Self.waves + index)
        let rising = wave.amplitude * sin(wave.frequency.z * z + wave.phase.z)
        for i in 0..<columns {
          alongX[row * columns + i] = sin(wave.frequency.x * grid.place(i, 0, 0).x + wave.phase.x)
        }
        for j in 0..<rows {
          alongYZ[row * rows + j] = rising * sin(wave.frequency.y * grid.place(0, j, 0).y + wave.phase.y)
        }
      }
    }
    var sums = [Float](repeating: 0, count: columns)
    sums.withUnsafeMutableBufferPointer { sums in
      alongX.withUnsafeBufferPointer { alongX in
        for j in 0..<rows {
          let line = UnsafeMutableBufferPointer(rebasing: places[(j * columns)..<((j + 1) * columns)])
          for i in 0..<columns { line[i] = straightAtlas(grid.place(i, j, slice)) }
          for axis in 0..<3 {
            // Column by column in the innermost loop, which the compiler turns into vectors.
            sums.update(repeating: 0)
            for row in (axis * Self.waves)..<((axis + 1) * Self.waves) {
              let (weight, start) = (alongYZ[row * rows + j], row * columns)
              for i in 0..<columns { sums[i] += alongX[start + i] * weight }
            }
            for i in 0..<columns { line[i][axis] += sums[i] }
          }
        }
      }
    }
  }
}
