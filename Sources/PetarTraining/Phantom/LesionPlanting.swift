import Glibc

/// A lesion as it was grown in an exam.
struct PlantedLesion: Sendable {
  let label: UInt8
  let site: LesionSite
  let form: LesionForm
  let ct: LesionFinding.CTCorrelate
  /// Voxels of the PET grid.
  let mask: [Int]

  /// What changes on CT: shapes in the order in which they are painted, with their HU; nil HU stands for nothing.
  func densities(enhanced: Bool) -> [(shape: Shape, hu: Float)] {
    let soft: Float = enhanced ? 78 : 42
    let outer = form.outer
    return switch ct {
    case .none: []
    case .lytic: [(outer, soft)]
    case .sclerotic: [(outer, 760)]
    case .solidNodule, .enlargedNode, .mass: [(outer, soft)]
    case .groundGlass: [(outer, -480)]
    case .cavity: [(outer, soft), (form.core(0.58), -920)]
    case .calcifiedNode: [(outer, soft), (form.core(0.6), 420)]
    case .calcified: [(form.core(0.62), 420)]
    case .normalNode: [(.ellipsoid(form.centre, Point(4, 4, 5)), soft)]
    case .hypodense: [(outer, enhanced ? 38 : 4)]
    }
  }
}

/// Grows lesions in an exam: chooses where, sets what they take up, and keeps the mask of each.
struct LesionPlanting {
  /// Share of the PET's volume that every lesion fills at least.
  static let leastShare: Float = 0.000102
  static let mostShare: Float = 0.019
  /// How often a lesion gets a neighbour of the same site, a finger's breadth away.
  private static let neighbourChance: Float = 0.35

  let body: Body
  let grid: PhantomGrid
  let scanner: Scanner
  let organs: [UInt8]
  /// The activity, lesions included; not yet blurred.
  private(set) var truth: [Float]
  private(set) var lesions: [PlantedLesion] = []
  private var random: PhantomRandom

  init(_ body: Body, grid: PhantomGrid, scanner: Scanner, truth: [Float], organs: [UInt8], random: PhantomRandom) {
    self.body = body
    self.grid = grid
    self.scanner = scanner
    self.truth = truth
    self.organs = organs
    self.random = random
  }

  mutating func plant() {
    let sites = LesionSite.all(body.patient)
    let tracer = Tracer.allCases.firstIndex(of: body.patient.tracer) ?? 0
    let wanted = 4 + random.below(7)
    var tries = 0
    while lesions.count < wanted, tries < 60 {
      tries += 1
      let site = choose(sites, tracer)
      guard grow(site, near: nil) else { continue }
      if lesions.count < wanted, random.chance(Self.neighbourChance), let first = lesions.last {
        for _ in 0..<8 where grow(site, near: first) { break }
      }
    }
  }

  private mutating func choose(_ sites: [LesionSite], _ tracer: Int) -> LesionSite {
    var rest = random.uniform(0...1) * sites.reduce(0) { $0 + $1.weights[tracer] }
    for site in sites {
      rest -= site.weights[tracer]
      if rest < 0 { return site }
    }
    return sites[sites.count - 1]
  }

  /// - Parameter near: another lesion of this site that the new one must lie beside, and differ from.
  /// - Returns: whether there was room, and contrast enough for the lesion to be seen.
  private mutating func grow(_ site: LesionSite, near first: PlantedLesion?) -> Bool {
    let morphology = random.pick(LesionFinding.Morphology.allCases.filter { $0 != first?.form.morphology })
    let correlate = random.pick(site.kind.correlates.filter { $0 != first?.ct })
    // Most lesions are small: the logarithm of the volume is even, squared towards the small end.
    let total = grid.voxelVolume * Float(grid.count)
    // A ring must be wide enough for its centre to be seen.
    let least = max(total * Self.leastShare, morphology == .ring ? 19_000 : 0) * 1.06
    let largest = max(min(site.largest * 1000, total * Self.mostShare), least * 1.3)
    let share = random.uniform(0...1)
    let volume = least * powf(largest / least, share * share)
    let radius = cubeRoot(volume * body.patient.warp.atlasVolume * 3 / (4 * .pi))

    guard let centre = place(site, radius: radius, near: first) else { return false }
    var form = LesionForm(morphology, centre: centre, radius: radius, axis: site.axis, random: &random)
    var mask = voxels(of: form.outer)
    for _ in 0..<4 {
      let grown = Float(mask.count) * grid.voxelVolume
      guard grown < least || abs(grown / volume - 1) > 0.04 else { break }
      form = form.scaled(cubeRoot(volume * 1.005 / max(grown, 1)))
      mask = voxels(of: form.outer)
    }
    guard Float(mask.count) * grid.voxelVolume >= total * Self.leastShare, fits(form, mask, site, beside: first) else {
      return false
    }
    guard paint(form, mask: mask) else { return false }
    lesions.append(
      PlantedLesion(label: UInt8(lesions.count + 1), site: site, form: form, ct: correlate, mask: mask))
    return true
  }

  private mutating func place(_ site: LesionSite, radius: Float, near first: PlantedLesion?) -> Point? {
    if let first {
      var direction = site.axis * (random.chance(0.5) ? 1 : -1) + random.inBall() * (site.kind == .bone ? 0.15 : 0.8)
      direction /= max(direction.length, 0.01)
      return first.form.centre + direction * (first.form.reach + radius * 1.3 + random.uniform(2...12))
    }
    let index = random.below(site.places.count)
    var place = site.places[index]
    if site.between, index + 1 < site.places.count {
      place += (site.places[index + 1] - place) * random.uniform(0...1)
    }
    return place + random.inBall() * site.scatter
  }

  private func fits(_ form: LesionForm, _ mask: [Int], _ site: LesionSite, beside first: PlantedLesion?) -> Bool {
    let box = body.patient.warp.worldBox(form.outer)
    guard all(box.lower .> grid.origin), all(box.upper .< grid.last) else { return false }
    for other in lesions {
      let gap: Float = other.label == first?.label ? 1 : 14
      guard (other.form.centre - form.centre).length > other.form.reach + form.reach + gap else { return false }
    }
    // A neighbour is called by the site's name, so it must not stray from it.
    if first != nil, !site.places.contains(where: { ($0 - form.centre).length < 34 }) { return false }
    if let host = site.host {
      guard let voxel = grid.voxel(body.patient.warp.world(form.centre)),
        organs[grid.index(voxel.x, voxel.y, voxel.z)] == host
      else { return false }
    }
    let inside = mask.count { truth[$0] > 0.05 }
    return Float(inside) > 0.93 * Float(mask.count)
  }

  /// Indices of the voxels whose centres lie in a shape of the atlas.
  private func voxels(of shape: Shape) -> [Int] {
    var indices: [Int] = []
    forEachVoxel(around: shape, reach: 0) { index, place in
      if shape.distance(place) <= 0 { indices.append(index) }
    }
    return indices
  }

  private func forEachVoxel(around shape: Shape, reach: Float, _ body: (Int, Point) -> Void) {
    let warp = self.body.patient.warp
    guard let window = grid.window(of: shape, warp, reach: reach) else { return }
    var places = [Point](repeating: .zero, count: grid.plane)
    for k in window.lower.z...window.upper.z {
      places.withUnsafeMutableBufferPointer { warp.atlas(slice: k, of: grid, into: $0) }
      for j in window.lower.y...window.upper.y {
        for i in window.lower.x...window.upper.x { body(grid.index(i, j, k), places[j * grid.shape.x + i]) }
      }
    }
  }

  // ---- Uptake -------------------------------------------------------------------------------------------------------

  /// Gives the lesion an activity such that its SUVmax, once blurred, is a chosen multiple of the reference's.
  ///
  /// With c the lesion's cover and b the activity around it, the image is blur(b (1 - c)) + v blur(c), so the v that
  /// makes the greatest value of the mask the target is the least (target - blur(b (1 - c))) / blur(c) of its voxels.
  /// - Returns: false if what surrounds it would outshine the lesion.
  private mutating func paint(_ form: LesionForm, mask: [Int]) -> Bool {
    let blur = Blur(sigma: scanner.petSigma)
    let outer = form.outer
    let edge = scanner.petSpacing.max()
    guard let window = grid.window(of: outer, body.patient.warp, reach: edge) else { return false }
    let low = pointwiseMax(window.lower &- blur.reach, SIMD3(repeating: 0))
    let high = pointwiseMin(window.upper &+ blur.reach, grid.shape &- 1)
    let shape = high &- low &+ 1
    func local(_ index: Int) -> Int {
      let (k, rest) = index.quotientAndRemainder(dividingBy: grid.plane)
      let (j, i) = rest.quotientAndRemainder(dividingBy: grid.shape.x)
      return ((k - low.z) * shape.y + j - low.y) * shape.x + i - low.x
    }
    var around = [Float](repeating: 0, count: shape.x * shape.y * shape.z)
    for k in 0..<shape.z {
      for j in 0..<shape.y {
        let start = grid.index(low.x, low.y + j, low.z + k)
        for i in 0..<shape.x { around[(k * shape.y + j) * shape.x + i] = truth[start + i] }
      }
    }
    var cover = [Float](repeating: 0, count: around.count)
    var kept = around
    var touched: [(Int, Float, Float)] = []
    let hole = form.photopenicCentre
    forEachVoxel(around: outer, reach: edge / 2) { index, place in
      let share = min(max(0.5 - outer.distance(place) / edge, 0), 1)
      guard share > 0 else { return }
      let empty = hole.map { min(max(0.5 - $0.distance(place) / edge, 0), 1) } ?? 0
      let place = local(index)
      cover[place] = share * (1 - 0.95 * empty)
      kept[place] *= 1 - share
      touched.append((index, share, cover[place]))
    }
    let background = mask.reduce(Float(0)) { $0 + truth[$1] } / Float(max(mask.count, 1))
    blur.apply(to: &kept, shape: shape)
    blur.apply(to: &cover, shape: shape)
    let spill = mask.reduce(Float(0)) { max($0, kept[local($1)]) }

    let reference = body.patient.suv(body.patient.tracer.reference)
    let first = random.below(10)
    let levels: [ClosedRange<Float>] = [0.55...0.75, 1.25...1.6, 2.7...5]
    for level in levels[(first < 3 ? 0 : first < 6 ? 1 : 2)...] {
      let target = min(reference * random.uniform(level), 110)
      guard target > 1.6 * background, target > 1.35 * spill else { continue }
      var activity = Float.greatestFiniteMagnitude
      for index in mask where cover[local(index)] > 0.05 {
        activity = min(activity, (target - kept[local(index)]) / cover[local(index)])
      }
      guard activity > 1.6 * background, activity < 10 * target else { continue }
      for (index, share, uptake) in touched { truth[index] = truth[index] * (1 - share) + activity * uptake }
      return true
    }
    return false
  }
}

private func cubeRoot(_ value: Float) -> Float { cbrtf(value) }
