import Glibc

/// The shape of one lesion in the atlas.
struct LesionForm: Sendable {
  let morphology: LesionFinding.Morphology
  let centre: Point
  /// Radius of a ball of its nominal volume.
  let radius: Float
  /// Directions and sizes of its balls, in radii, drawn once so that a resized lesion keeps its looks.
  private let balls: [(centre: Point, radius: Float)]
  private let stretch: Point
  private let turn: Turn

  init(_ morphology: LesionFinding.Morphology, centre: Point, radius: Float, axis: Point, random: inout PhantomRandom) {
    self.morphology = morphology
    self.centre = centre
    self.radius = radius
    var balls: [(Point, Float)] = []
    var stretch = Point(repeating: 1)
    var turn = Turn.none
    switch morphology {
    case .round, .ring:
      stretch = Point(random.uniform(0.95...1.06), random.uniform(0.95...1.06), random.uniform(0.95...1.06))
    case .elongated:
      let along: Float = 1.95
      let across = 1 / along.squareRoot()
      stretch = Point(across, across, along)
      let direction = axis / max(axis.length, 0.01) + random.inBall() * 0.15
      let flat = (direction.x * direction.x + direction.y * direction.y).squareRoot()
      turn = Turn(y: atan2(flat, direction.z) * 180 / .pi, z: atan2(direction.y, direction.x) * 180 / .pi)
    case .lobulated:
      balls = [(.zero, 0.62)]
      let start = random.uniform(0...6.28)
      for lobe in 0..<4 {
        let angle = start + Float(lobe) * 1.571 + random.uniform(-0.2...0.2)
        let height = random.uniform(-0.55...0.55)
        let reach = random.uniform(0.78...0.92)
        balls.append((Point(cos(angle), sin(angle), height) * reach, random.uniform(0.5...0.6)))
      }
    }
    self.balls = balls
    self.stretch = stretch
    self.turn = turn
  }

  private init(_ form: LesionForm, radius: Float) {
    (morphology, centre, balls, stretch, turn) = (form.morphology, form.centre, form.balls, form.stretch, form.turn)
    self.radius = radius
  }

  func scaled(_ factor: Float) -> LesionForm { LesionForm(self, radius: radius * factor) }

  /// Nothing of the lesion is farther from its centre.
  var reach: Float {
    guard morphology == .lobulated else { return radius * stretch.max() }
    return radius * (balls.map { $0.centre.length + $0.radius }.max() ?? 1)
  }

  var outer: Shape {
    guard morphology == .lobulated else { return .ellipsoid(centre, stretch * radius, turn: turn) }
    let parts = balls.map { (centre + $0.centre * radius, $0.radius * radius) }
    return Shape(centre, centre, reach: reach) { point in
      var nearest = Float.greatestFiniteMagnitude
      for (middle, radius) in parts { nearest = min(nearest, (point - middle).length - radius) }
      return nearest
    }
  }

  /// The part without uptake, of a ring.
  var photopenicCentre: Shape? { morphology == .ring ? core(0.56) : nil }

  /// A smaller lesion inside this one.
  func core(_ share: Float) -> Shape { .ellipsoid(centre, stretch * radius * share, turn: turn) }
}
