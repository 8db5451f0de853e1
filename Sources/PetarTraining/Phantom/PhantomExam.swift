import Glibc

/// A whole exam in memory.
struct PhantomExam: Sendable {
  /// What is known of a lesion.
  struct Lesion: Sendable {
    let label: UInt8
    let finding: LesionFinding
    let voxels: Int
    /// Its part of the PET's volume.
    let share: Double
    /// Whether the released preprocessing keeps all of it: it drops the slices above the last with SUV > 5.
    let kept: Bool
  }

  /// SUV of one stored step of the PET.
  static let petStep: Float = 1 / 256

  let patient: Patient
  let petGrid: PhantomGrid
  let ctGrid: PhantomGrid
  let pet: [Int16]
  let ct: [Int16]
  let organs: [UInt8]
  let lesionMap: [UInt8]
  let lesions: [Lesion]
  /// Classes of the organ map of which the released preprocessing keeps all.
  let organLabels: [UInt8]

  /// - Parameters:
  ///   - seed: of the data set.
  ///   - patient: its number.
  ///   - visit: 0 for the patient's first exam.
  init(dataset seed: UInt64, patient number: Int, visit: Int) {
    let patient = Patient(dataset: seed, number: number)
    var random = PhantomRandom(seed, UInt64(number), 3, UInt64(visit))
    let body = Body(patient)
    let scanner = Scanner(&random)
    let (petGrid, ctGrid) = Self.grids(body, scanner, &random)

    var truth = [Float](repeating: 0, count: petGrid.count)
    var labels: [UInt8]? = [UInt8](repeating: 0, count: petGrid.count)
    Painter(body, grid: petGrid, edge: scanner.petSpacing.max()).paint(patient.suv, on: &truth, labels: &labels)
    let organs = labels ?? []
    var planting = LesionPlanting(
      body, grid: petGrid, scanner: scanner, truth: truth, organs: organs,
      random: PhantomRandom(seed, UInt64(number), 4, UInt64(visit)))
    planting.plant()

    let noise = random.next()
    let image = scanner.pet(planting.truth, grid: petGrid, seed: noise)
    let pet = image.map { Int16(min(($0 / Self.petStep).rounded(), 32767)) }
    var lesionMap = [UInt8](repeating: 0, count: petGrid.count)
    for lesion in planting.lesions { for index in lesion.mask { lesionMap[index] = lesion.label } }

    let measure = Measurement(pet: pet, grid: petGrid)
    let reference = measure.reference(patient.tracer, organs: organs, lesions: lesionMap)
    let top = measure.lastKeptSlice
    lesions = planting.lesions.map { lesion in
      let greatest = lesion.mask.reduce(Int16.min) { max($0, pet[$1]) }
      return Lesion(
        label: lesion.label,
        finding: LesionFinding(
          region: lesion.site.region, organ: lesion.site.organ, subSite: lesion.site.subSite,
          laterality: lesion.site.side?.rawValue, morphology: lesion.form.morphology,
          uptake: LesionFinding.Uptake(ratio: Float(greatest) * Self.petStep / max(reference, 0.01)),
          tracer: patient.tracer, ct: lesion.ct),
        voxels: lesion.mask.count, share: Double(lesion.mask.count) / Double(petGrid.count),
        kept: lesion.mask.allSatisfy { $0 / petGrid.plane <= top })
    }
    organLabels = measure.labels(organs, upTo: top)
    ct = Self.ct(body, ctGrid, scanner, planting.lesions, seed: noise)
    (self.patient, self.petGrid, self.ctGrid, self.pet) = (patient, petGrid, ctGrid, pet)
    (self.organs, self.lesionMap) = (organs, lesionMap)
  }

  /// From the thighs to the eyes or the top of the head, as wide as the body.
  private static func grids(
    _ body: Body, _ scanner: Scanner, _ random: inout PhantomRandom
  ) -> (pet: PhantomGrid, ct: PhantomGrid) {
    let warp = body.patient.warp
    let bottom = warp.world(Point(0, 0, random.uniform(-70...10))).z
    let top = warp.world(Point(0, 0, random.chance(0.6) ? 968 : random.uniform(835...865))).z
    var low = Point(repeating: .greatestFiniteMagnitude)
    var high = -low
    for part in body.parts where part.tissue == .skin {
      for shape in part.shapes where shape.upper.z > -40 && shape.lower.z < 940 {
        let box = warp.worldBox(shape)
        low = pointwiseMin(low, box.lower)
        high = pointwiseMax(high, box.upper)
      }
    }
    (low.z, high.z) = (bottom, top)
    let pet = PhantomGrid(covering: low, high, spacing: scanner.petSpacing)
    // The CT sees the table too, and all of the PET.
    let margin = Point(4, 4, 0)
    let ct = PhantomGrid(covering: low - margin - Point(0, 34, 0), pet.last + margin, spacing: scanner.ctSpacing)
    return (pet, ct)
  }

  private static func ct(
    _ body: Body, _ grid: PhantomGrid, _ scanner: Scanner, _ lesions: [PlantedLesion], seed: UInt64
  ) -> [Int16] {
    let patient = body.patient
    var truth = [Float](repeating: patient.hu(.air), count: grid.count)
    addTable(to: &truth, grid, under: patient.warp.world(Point(0, body.back, 480)).y)
    var none: [UInt8]?
    let edge = max(scanner.ctSpacing.x, 2)
    Painter(body, grid: grid, edge: edge).paint(Tissue.allCases.map { patient.hu($0) }, on: &truth, labels: &none)
    var places = [Point](repeating: .zero, count: grid.plane)
    for lesion in lesions {
      for (shape, hu) in lesion.densities(enhanced: patient.enhanced) {
        guard let window = grid.window(of: shape, patient.warp, reach: edge) else { continue }
        for k in window.lower.z...window.upper.z {
          places.withUnsafeMutableBufferPointer { patient.warp.atlas(slice: k, of: grid, into: $0) }
          for j in window.lower.y...window.upper.y {
            for i in window.lower.x...window.upper.x {
              let cover = min(max(0.5 - shape.distance(places[j * grid.shape.x + i]) / edge, 0), 1)
              truth[grid.index(i, j, k)] += (hu - truth[grid.index(i, j, k)]) * cover
            }
          }
        }
      }
    }
    return scanner.ct(truth, grid: grid, seed: seed)
  }

  /// A curved couch: two thin shells with foam between them.
  private static func addTable(to field: inout [Float], _ grid: PhantomGrid, under back: Float) {
    for j in 0..<grid.shape.y {
      for i in 0..<grid.shape.x {
        let place = grid.place(i, j, 0)
        guard abs(place.x) < 215 else { continue }
        let depth = back + place.x * place.x * 0.0005 - place.y
        guard depth > 0, depth < 24 else { continue }
        let shell = depth < 3 || depth > 21
        let hu: Float = shell ? Tissue.table.hu(enhanced: false) : -940
        for k in 0..<grid.shape.z { field[grid.index(i, j, k)] = hu }
      }
    }
  }
}

extension LesionFinding.Uptake {
  /// - Parameter ratio: SUVmax of the lesion over mean SUV of the tracer's reference (`Tracer.reference`).
  init(ratio: Float) { self = ratio <= 1 ? .mild : ratio <= 2 ? .moderate : .intense }
}

/// What is read off the finished PET.
private struct Measurement {
  let pet: [Int16]
  let grid: PhantomGrid

  /// Mean SUV of the liver, or of the lumbar vertebrae, lesions left out.
  func reference(_ tracer: Tracer, organs: [UInt8], lesions: [UInt8]) -> Float {
    let names = tracer.reference == .liver ? ["liver"] : (1...5).map { "vertebrae_L\($0)" }
    let wanted = Set(names.compactMap { AnatomicalClass.number($0).map { UInt8($0) } })
    var sum = 0
    var count = 0
    for index in organs.indices where lesions[index] == 0 && wanted.contains(organs[index]) {
      sum += Int(pet[index])
      count += 1
    }
    return Float(sum) / Float(max(count, 1)) * PhantomExam.petStep
  }

  /// The released preprocessing (`HeadCrop` of the runtime) looks in a window about the middle for the last slice with
  /// SUV > 5 and drops what lies above it.
  var lastKeptSlice: Int {
    let threshold = Int16(5 / PhantomExam.petStep)
    let columns = max(grid.shape.x / 2 - 50, 0)..<min(grid.shape.x / 2 + 50, grid.shape.x)
    let rows = max(grid.shape.y / 2 - 150, 0)..<min(grid.shape.y / 2 + 50, grid.shape.y)
    for slice in (0..<grid.shape.z).reversed() {
      for row in rows {
        for column in columns where pet[grid.index(column, row, slice)] > threshold { return slice }
      }
    }
    return grid.shape.z - 1
  }

  /// Labels that occur, in ascending order, and not above a slice.
  func labels(_ map: [UInt8], upTo top: Int) -> [UInt8] {
    var counts = [Int](repeating: 0, count: 256)
    var above = Set<UInt8>()
    for (index, label) in map.enumerated() where label != 0 {
      counts[Int(label)] += 1
      if index / grid.plane > top { above.insert(label) }
    }
    // A handful of voxels at the edge of the field of view is not an organ to ask for.
    return (1...255).filter { counts[$0] >= 12 && !above.contains(UInt8($0)) }.map { UInt8($0) }
  }
}
