/// Paints a body's parts on a grid, slice by slice.
struct Painter {
  private struct Item {
    let shape: Shape
    let tissue: Tissue
    let label: UInt8?
    let lower: SIMD3<Int>
    let upper: SIMD3<Int>
  }

  let grid: PhantomGrid
  private let warp: Warp
  private let edge: Float
  private let items: [Item]

  /// - Parameter edge: width in millimetres over which a part's border is smoothed, about a voxel.
  init(_ body: Body, grid: PhantomGrid, edge: Float) {
    self.grid = grid
    self.edge = edge
    let warp = body.patient.warp
    self.warp = warp
    items = body.parts.flatMap { part in
      part.shapes.compactMap { shape -> Item? in
        guard let window = grid.window(of: shape, warp, reach: edge / 2) else { return nil }
        return Item(shape: shape, tissue: part.tissue, label: part.label, lower: window.lower, upper: window.upper)
      }
    }
  }

  /// - Parameters:
  ///   - values: of each tissue, in the order of `Tissue.allCases`.
  ///   - field: painted over.
  ///   - labels: the organ map; nil where it is not wanted.
  func paint(_ values: [Float], on field: inout [Float], labels: inout [UInt8]?) {
    var places = [Point](repeating: .zero, count: grid.plane)
    let reach = edge / 2
    let slope = 1 / edge
    for slice in 0..<grid.shape.z {
      places.withUnsafeMutableBufferPointer { warp.atlas(slice: slice, of: grid, into: $0) }
      for item in items where item.lower.z <= slice && slice <= item.upper.z {
        let value = values[item.tissue.rawValue]
        for j in item.lower.y...item.upper.y {
          let row = j * grid.shape.x
          let start = slice * grid.plane + row
          for i in item.lower.x...item.upper.x {
            let place = places[row + i]
            // The box first: most voxels of a bent shape's window lie outside it.
            guard all(place .>= item.shape.lower - reach), all(place .<= item.shape.upper + reach) else { continue }
            let distance = item.shape.distance(place)
            guard distance < reach else { continue }
            let cover = min(0.5 - distance * slope, 1)
            field[start + i] += (value - field[start + i]) * cover
            if distance <= 0, let label = item.label { labels?[start + i] = label }
          }
        }
      }
    }
  }
}

extension PhantomGrid {
  /// The voxels that a shape of the atlas may reach.
  func window(of shape: Shape, _ warp: Warp, reach: Float) -> (lower: SIMD3<Int>, upper: SIMD3<Int>)? {
    let (low, high) = warp.worldBox(shape)
    return window(low - reach, high + reach)
  }
}

extension Warp {
  /// A box of the scanner's coordinates that holds a shape of the atlas.
  func worldBox(_ shape: Shape) -> (lower: Point, upper: Point) {
    var low = Point(repeating: .greatestFiniteMagnitude)
    var high = -low
    for corner in 0..<8 {
      let place = world(
        Point(
          corner & 1 > 0 ? shape.upper.x : shape.lower.x, corner & 2 > 0 ? shape.upper.y : shape.lower.y,
          corner & 4 > 0 ? shape.upper.z : shape.lower.z))
      low = pointwiseMin(low, place)
      high = pointwiseMax(high, place)
    }
    let reach = Self.reach * scale * 1.1
    return (low - reach, high + reach)
  }
}
