import Glibc

/// A place in the atlas, in millimetres: x to the patient's right, y to the front, z to the head.
typealias Point = SIMD3<Float>

extension Point {
  var length: Float { (self * self).sum().squareRoot() }
  /// The same place on the other side of the body.
  func mirrored(_ side: Side) -> Point { side == .right ? self : Point(-x, y, z) }
}

enum Side: String, CaseIterable, Sendable {
  case right, left
}

/// A solid: its distance function in millimetres, negative inside, and a box outside which it is positive.
struct Shape: Sendable {
  let lower: Point
  let upper: Point
  let distance: @Sendable (Point) -> Float

  /// Bounded by `lower`...`upper` grown by `reach`.
  init(_ lower: Point, _ upper: Point, reach: Float = 0, distance: @escaping @Sendable (Point) -> Float) {
    self.lower = lower - Point(repeating: reach)
    self.upper = upper + Point(repeating: reach)
    self.distance = distance
  }

  /// The distance is exact on the surface to first order: f / |grad f|.
  /// - Parameter turn: rotation of its axes.
  static func ellipsoid(_ centre: Point, _ radii: Point, turn: Turn = .none) -> Shape {
    let inverse = 1 / radii
    let square = inverse * inverse
    let reach = turn.isNone ? radii : Point(repeating: radii.max())
    return Shape(centre - reach, centre + reach) { point in
      let local = turn.inverse(point - centre)
      let scaled = local * inverse
      let norm = (scaled * scaled).sum().squareRoot()
      let gradient = (local * square).length
      guard gradient > 1e-6 else { return -radii.min() }
      return norm * (norm - 1) / gradient
    }
  }

  /// A round-ended rod whose radius changes linearly from start to end.
  static func rod(_ start: Point, _ end: Point, _ radius: Float, _ endRadius: Float? = nil) -> Shape {
    let last = endRadius ?? radius
    let axis = end - start
    let scale = 1 / max((axis * axis).sum(), 1e-6)
    return Shape(pointwiseMin(start, end), pointwiseMax(start, end), reach: max(radius, last)) { point in
      let offset = point - start
      let along = min(max((offset * axis).sum() * scale, 0), 1)
      return (offset - along * axis).length - (radius + (last - radius) * along)
    }
  }

  /// Rods from point to point.
  static func tube(_ points: [Point], _ radii: [Float]) -> [Shape] {
    guard points.count > 1 else { return [] }
    return (1..<points.count).map { index in
      rod(points[index - 1], points[index], radii[min(index - 1, radii.count - 1)], radii[min(index, radii.count - 1)])
    }
  }

  static func tube(_ points: [Point], _ radius: Float) -> [Shape] { tube(points, [radius]) }

  /// A box with rounded edges.
  static func box(_ centre: Point, _ half: Point, rounding: Float, turn: Turn = .none) -> Shape {
    let reach = turn.isNone ? half : Point(repeating: half.length)
    let core = half - Point(repeating: rounding)
    return Shape(centre - reach, centre + reach) { point in
      let local = turn.inverse(point - centre)
      let outside = Point(abs(local.x), abs(local.y), abs(local.z)) - core
      return pointwiseMax(outside, .zero).length + min(outside.max(), 0) - rounding
    }
  }

  /// Smaller by `depth` everywhere; larger when it is negative.
  func inset(_ depth: Float) -> Shape {
    Shape(lower, upper, reach: max(-depth, 0)) { [distance] in distance($0) + depth }
  }

  /// What both hold.
  func cut(_ other: @escaping @Sendable (Point) -> Float) -> Shape {
    Shape(lower, upper) { [distance] in max(distance($0), other($0)) }
  }

  func cut(_ other: Shape) -> Shape {
    Shape(pointwiseMax(lower, other.lower), pointwiseMin(upper, other.upper)) { [distance] point in
      max(distance(point), other.distance(point))
    }
  }

  /// This without the other.
  func without(_ other: Shape) -> Shape {
    cut { -other.distance($0) }
  }
}

/// A rotation, by degrees about x, then y, then z.
struct Turn: Sendable {
  static let none = Turn()
  let isNone: Bool
  /// The rotated axes.
  private let axes: (Point, Point, Point)

  init(x: Float = 0, y: Float = 0, z: Float = 0) {
    isNone = x == 0 && y == 0 && z == 0
    func rotated(_ point: Point) -> Point {
      let (a, b, c) = (x * .pi / 180, y * .pi / 180, z * .pi / 180)
      var p = point
      p = Point(p.x, cos(a) * p.y - sin(a) * p.z, sin(a) * p.y + cos(a) * p.z)
      p = Point(cos(b) * p.x + sin(b) * p.z, p.y, -sin(b) * p.x + cos(b) * p.z)
      return Point(cos(c) * p.x - sin(c) * p.y, sin(c) * p.x + cos(c) * p.y, p.z)
    }
    axes = (rotated(Point(1, 0, 0)), rotated(Point(0, 1, 0)), rotated(Point(0, 0, 1)))
  }

  /// The turn seen in a mirror at x = 0.
  static func mirrored(x: Float = 0, y: Float = 0, z: Float = 0, _ side: Side) -> Turn {
    side == .right ? Turn(x: x, y: y, z: z) : Turn(x: x, y: -y, z: -z)
  }

  func callAsFunction(_ point: Point) -> Point { axes.0 * point.x + axes.1 * point.y + axes.2 * point.z }

  func inverse(_ point: Point) -> Point {
    isNone ? point : Point((axes.0 * point).sum(), (axes.1 * point).sum(), (axes.2 * point).sum())
  }
}

/// Numbers at heights, linear in between: a profile of the body.
struct Profile: Sendable {
  let heights: [Float]
  let values: [Point]

  /// - Parameter rows: (height, values), ascending.
  init(_ rows: [(Float, Point)]) {
    heights = rows.map(\.0)
    values = rows.map(\.1)
  }

  func callAsFunction(_ height: Float) -> Point {
    guard let last = heights.last, height < last else { return values.last ?? .zero }
    guard height > heights[0] else { return values[0] }
    var index = 1
    while heights[index] < height { index += 1 }
    let share = (height - heights[index - 1]) / (heights[index] - heights[index - 1])
    return values[index - 1] + (values[index] - values[index - 1]) * share
  }

  /// A stack of superellipses: values are half-width, half-depth, and the y of the middle.
  /// - Parameter squareness: 2 is an ellipse, more is boxier.
  func stack(squareness: Float = 2) -> Shape {
    let reach = values.reduce(Point.zero) { Point(max($0.x, $1.x), max($0.y, $1.y + abs($1.z)), 0) }
    let (bottom, top) = (heights[0], heights[heights.count - 1])
    return Shape(Point(-reach.x, -reach.y, bottom), Point(reach.x, reach.y, top)) { point in
      let row = self(point.z)
      let (x, y) = (point.x / row.x, (point.y - row.z) / row.y)
      let norm: Float
      if squareness == 2 {
        norm = (x * x + y * y).squareRoot()
      } else {
        norm = pow(pow(abs(x), squareness) + pow(abs(y), squareness), 1 / squareness)
      }
      // f / |grad f| of the ellipse serves for the boxier ones too.
      let gradient = ((x / row.x) * (x / row.x) + (y / row.y) * (y / row.y)).squareRoot()
      let across = gradient > 1e-6 ? (norm - 1) * norm / gradient : -row.y
      return max(across, max(bottom - point.z, point.z - top))
    }
  }
}
