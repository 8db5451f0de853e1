import Petar
import PetarConversion

/// Rows that layers are applied to, one after another. The pointers that layers are given are those of the batch's first
/// row, whatever the part.
struct RowPart {
  let rows: Range<Int>
  let engine: Engine
  /// Other threads work on other parts; otherwise these are all rows, and all threads work on them.
  fileprivate let isOnOneThread: Bool
  /// By the place of a weight.
  fileprivate let panels: [UnsafePointer<Float>: Panels]

  /// These rows of `x`, of `width`, to be asked for before they are read.
  func upcoming(_ x: UnsafePointer<Float>, width: Int) -> Upcoming {
    Upcoming(base: x + rows.lowerBound * width, stride: width, rows: rows.count, columns: width)
  }

  /// The rows that this thread will probably have after these.
  func upcomingNext(_ x: UnsafePointer<Float>, width: Int) -> Upcoming {
    Upcoming(
      base: x + (rows.lowerBound + engine.pool.threads * rows.count) * width, stride: width, rows: rows.count,
      columns: width)
  }

  /// Calls `body` with rows of `width`, pieces of these.
  func forEach(width: Int, _ body: (Range<Int>) -> Void) {
    if isOnOneThread { return body(rows) }
    engine.overRows(rows.count, width: width) { first, count in body(first..<(first + count)) }
  }

  /// Calls `body` with each row.
  func forEachRow(width: Int, _ body: (Int) -> Void) {
    forEach(width: width) { rows in
      for row in rows { body(row) }
    }
  }

  /// What `prelude` makes of each row, of `width` at `y`, as the runtime does it.
  func apply(
    _ prelude: RowPrelude, _ x: UnsafePointer<Float>, width: Int, into y: UnsafeMutablePointer<Float>
  ) {
    forEachRow(width: width) { row in
      prelude.apply(engine.kernels, x + row * prelude.inputWidth(width), width: width, into: y + row * width)
    }
  }

  /// `c = scale a b` and `epilogue`, for the rows of `a`, `c` and the epilogue.
  func multiply(
    _ a: Factor, _ b: Factor, into c: UnsafeMutablePointer<Float>, stride: Int, columns: Int, depth: Int,
    scale: Float = 1, then epilogue: Epilogue = Epilogue(), isNear: Bool = false, next: Upcoming? = nil
  ) {
    let first = rows.lowerBound
    let extents = Extents(rows: rows.count, columns: columns, depth: depth)
    if isOnOneThread {
      PetarTraining.multiply(
        a.from(row: first), b, into: c + first * stride, stride: stride, extents, scale: scale,
        then: epilogue.from(row: first, stride: stride), isNear: isNear, next: next)
    } else {
      engine.multiply(a, b, into: c, stride: stride, extents, scale: scale, then: epilogue)
    }
  }

  /// `c = a W` or `a Wᵀ` and `epilogue`, for the rows of `a`, `c` and the epilogue, which have no gaps.
  func multiply(
    _ a: UnsafePointer<Float>, by weight: Weight, transposed: Bool, into c: UnsafeMutablePointer<Float>,
    then epilogue: Epilogue, isNear: Bool = false, next: Upcoming?
  ) {
    let (depth, columns) = transposed ? (weight.columns, weight.rows) : (weight.rows, weight.columns)
    let a = Factor(a, stride: depth)
    if let panels = panels[UnsafePointer(weight.values)] {
      let first = rows.lowerBound
      panels.multiplied(
        by: a.from(row: first), into: c + first * columns, stride: columns,
        Extents(rows: rows.count, columns: columns, depth: depth), then: epilogue.from(row: first, stride: columns),
        isNear: isNear, next: next)
    } else {
      multiply(
        a, Factor(weight.values, stride: weight.columns, transposed: transposed), into: c, stride: columns,
        columns: columns, depth: depth, then: epilogue, isNear: isNear, next: next)
    }
  }
}

/// Memory for what does not outlive a part of the rows: in a second-level cache where parts are small.
struct RowScratch {
  fileprivate let base: UnsafeMutablePointer<Float>
  fileprivate let firstRow: Int

  /// Rows of `width`, as all memory of rows addressed from the batch's first one on. They take the place of any others.
  func rows(_ width: Int) -> UnsafeMutablePointer<Float> { base - firstRow * width }
}

/// Sums over rows, in parts that may be added to side by side and are then added up in their order.
struct RowSums {
  static let rowsOfPart = 64

  let width: Int
  private let parts: Int
  private let base: UnsafeMutablePointer<Float>

  /// Zeros. The memory lies in the arena.
  init(_ rows: Int, width: Int, _ engine: Engine) throws {
    self.width = width
    parts = (rows + Self.rowsOfPart - 1) / Self.rowsOfPart
    base = try engine.arena.floats(parts * width)
    base.update(repeating: 0, count: parts * width)
  }

  /// Calls `body` with rows of one part and its sums, for all of `part`.
  func forEach(in part: RowPart, _ body: (Range<Int>, UnsafeMutablePointer<Float>) -> Void) {
    let size = Self.rowsOfPart
    let (first, end) = (part.rows.lowerBound / size, (part.rows.upperBound + size - 1) / size)
    func call(_ index: Int) {
      body((index * size)..<min((index + 1) * size, part.rows.upperBound), base + index * width)
    }
    if part.isOnOneThread {
      for index in first..<end { call(index) }
    } else {
      part.engine.pool.run(end - first) { call(first + $0) }
    }
  }

  /// Adds the sums of columns `first...` to `gradient`.
  func add(to gradient: UnsafeMutablePointer<Float>?, from first: Int = 0, count: Int, _ engine: Engine) {
    guard let gradient else { return }
    engine.operations.column_sums(base + first, width, parts, count, gradient)
  }
}

extension Engine {
  enum Pass {
    case forward, backward
  }

  /// All rows, on all threads.
  func all(_ rows: Int) -> RowPart {
    RowPart(rows: 0..<rows, engine: self, isOnOneThread: false, panels: [:])
  }

  /// Calls `body`, which takes rows through `layers` and what is between them, for all rows of a batch.
  ///
  /// Where weights are small, each thread takes part after part of the rows through all of it: what a layer makes is
  /// still in the second-level cache when the next one reads it. Layers with adapters, which need memory of their own,
  /// and large weights, which would have to be read for each part, have all rows at once.
  /// - Parameters:
  ///   - works: what can be done meanwhile.
  ///   - width: of the widest rows that `body` has memory for.
  func overParts(
    _ rows: Int, _ pass: Pass, _ layers: [LinearLayer], beside works: [Work] = [], scratch width: Int = 0,
    _ body: (_ part: RowPart, _ scratch: RowScratch) throws -> Void
  ) throws {
    // OpenBLAS copies the weights for each part, which takes more rows to pay.
    let size = (operations.multiply == nil ? 4 : 1) * RowSums.rowsOfPart
    let parts = (rows + size - 1) / size
    guard parts >= 8, layers.allSatisfy({ $0.isPlain && $0.inputs * $0.outputs <= Extents.smallWeight }) else {
      run(works)
      return try arena.scoped { try body(all(rows), RowScratch(base: arena.floats(rows * width), firstRow: 0)) }
    }
    try arena.scoped {
      let weights = layers.map(\.weight)
      let panels = Dictionary(
        zip(weights.map { UnsafePointer($0.values) }, try panels(of: weights, transposed: pass == .forward) ?? [])
      ) { first, _ in first }
      let scratch = try arena.floats(pool.threads * size * width)
      let failure = FirstFailure()
      run(works, parts) { index, lane in
        failure.catching {
          let part = (index * size)..<min((index + 1) * size, rows)
          try body(
            RowPart(rows: part, engine: self, isOnOneThread: true, panels: panels),
            RowScratch(base: scratch + lane * size * width, firstRow: part.lowerBound))
        }
      }
      try failure.rethrow()
    }
  }
}
