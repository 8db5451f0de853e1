import Foundation
import Petar
import PetarConversion
import Testing

@Suite("Error feedback") struct ErrorFeedbackTests {
  /// A layer of 24 outputs with 328 inputs, a group of 256 and one of 72, and 400 tokens whose channels go together.
  private struct Layer {
    var rows = 24
    let columns = 328
    var tokens = 400
    var weights: [Float]
    var inputs: [Float]

    /// The numbers of `Tests/Fixtures/study_q4.py feedback`.
    init() {
      var noise = Noise(1)
      weights = noise.values(rows * columns)
      noise = Noise(2)
      inputs = noise.values(tokens * columns)
      for cause in UInt64(0)..<3 {
        var (times, channels) = (Noise(3 + cause), Noise(6 + cause))
        let (shares, sizes) = (times.values(tokens), channels.values(columns))
        for index in inputs.indices { inputs[index] += shares[index / columns] * sizes[index % columns] }
      }
    }

    var layout: MatrixLayout {
      get throws { try MatrixLayout(.q4, rows: rows, columns: columns, groupSize: 256) }
    }

    func packed(_ set: String? = nil, threads: Int = 2) throws -> (bytes: Buffer<UInt8>, errors: [Float]) {
      let compute = try compute(set ?? InstructionSet().name, threads: threads)
      let layout = try layout
      let feedback = try ErrorFeedback(
        inputs: inputs, rows: tokens, columns: columns, blockColumns: layout.groupSize, compute, scratch: Scratch())
      var errors = weights
      let bytes = try Buffer<UInt8>(count: layout.byteCount)
      try errors.withUnsafeMutableBufferPointer { errors in
        guard let base = errors.baseAddress else { return }
        try feedback.pack(base, layout, into: bytes.base, scratch: Scratch())
      }
      return (bytes, errors)
    }

    func rounded() throws -> Matrix { try Matrix(packing: weights, layout) }

    func values(_ matrix: Matrix) throws -> [Float] {
      try (0..<rows).flatMap { row in
        var values = [Float](repeating: .nan, count: columns)
        try matrix.unpackRow(row, into: &values)
        return values
      }
    }

    /// The squared error of the outputs for the inputs that were calibrated with, ||(W - Q) X^T||^2.
    func outputError(_ packed: [Float]) -> Double {
      let errors = zip(weights, packed).map { Double($0) - Double($1) }
      return (0..<rows).reduce(0.0) { sum, row in
        sum
          + (0..<tokens).reduce(0.0) { sum, token in
            var output = 0.0
            for column in 0..<columns {
              output += errors[row * columns + column] * Double(inputs[token * columns + column])
            }
            return sum + output * output
          }
      }
    }
  }

  private func matrix(_ layer: Layer, _ bytes: Buffer<UInt8>) throws -> Matrix {
    Matrix(try layer.layout, bytes: bytes.base, owner: bytes)
  }

  /// `Tests/Fixtures/study_q4.py` takes the way of the paper: the inverse of H, its Cholesky decomposition, and every
  /// column moved after every 8. In exact arithmetic both are the same. A weight that lies between two levels may go to
  /// either; those after it follow. 1 % of them leaves room for a few such rows, and their outputs are no worse.
  @Test("It is GPTQ as an independent implementation has it")
  func equalsReference() throws {
    let layer = Layer()
    let path = URL(fileURLWithPath: #filePath).deletingLastPathComponent().deletingLastPathComponent()
      .deletingLastPathComponent().appendingPathComponent("Fixtures/q4_feedback.bin")
    let reference = try Data(contentsOf: path).withUnsafeBytes { Array($0.bindMemory(to: Float.self)) }
    let values = try layer.values(matrix(layer, layer.packed().bytes))
    try #require(values.count == reference.count)
    let different = zip(values, reference).count { $0 != $1 }
    #expect(different <= values.count / 100, "\(different) of \(values.count) values are different")
    let (error, expected) = (layer.outputError(values), layer.outputError(reference))
    #expect((error / expected - 1).magnitude < 0.01)
    // 3.2 % instead of 5.4 %.
    #expect(error < 0.36 * layer.outputError(try layer.values(layer.rounded())))
  }

  @Test("What it leaves behind is the error of each weight")
  func errors() throws {
    let layer = Layer()
    let (bytes, errors) = try layer.packed()
    let values = try layer.values(matrix(layer, bytes))
    #expect(zip(layer.weights, values).map(-) == errors)
  }

  enum Inputs: CaseIterable { case together, independent, fewerThanColumns, one, someDead, oneHuge }

  @Test("Outputs for the calibration texts are never further off than with rounded weights", arguments: Inputs.allCases)
  func neverWorse(_ kind: Inputs) throws {
    var layer = Layer()
    switch kind {
    case .together: break
    case .independent:
      var noise = Noise(10)
      layer.inputs = noise.values(layer.inputs.count)
    case .fewerThanColumns, .one:
      layer.tokens = kind == .one ? 1 : 40
      layer.inputs = Array(layer.inputs.prefix(layer.tokens * layer.columns))
    case .someDead:
      for index in layer.inputs.indices where index % layer.columns % 5 == 0 { layer.inputs[index] = 0 }
    case .oneHuge:
      for index in layer.inputs.indices where index % layer.columns == 77 { layer.inputs[index] *= 1000 }
    }
    let values = try layer.values(matrix(layer, layer.packed().bytes))
    #expect(layer.outputError(values) <= layer.outputError(try layer.values(layer.rounded())))
  }

  @Test("Inputs that say nothing leave plain rounding", arguments: [Float(0), 1])
  func plain(_ value: Float) throws {
    var layer = Layer()
    // Either none at all, or each channel for itself.
    layer.tokens = layer.columns
    layer.inputs = (0..<layer.tokens * layer.columns).map { $0 / layer.columns == $0 % layer.columns ? value : 0 }
    let (bytes, rounded) = (try layer.packed().bytes, try layer.rounded())
    #expect(Array(bytes.elements) == Array(UnsafeRawBufferPointer(start: rounded.bytes, count: bytes.count)))
  }

  @Test("The same bytes whatever the threads and the instruction set", arguments: instructionSets)
  func sameBytes(_ set: String) throws {
    let layer = Layer()
    let expected = try layer.packed("scalar", threads: 1)
    for threads in [1, 2, 3, 7] {
      let packed = try layer.packed(set, threads: threads)
      #expect(Array(packed.bytes.elements) == Array(expected.bytes.elements))
      #expect(bits(packed.errors) == bits(expected.errors))
    }
  }

  @Test("Inputs that are not finite are refused")
  func notFinite() throws {
    var layer = Layer()
    layer.inputs[1000] = .infinity
    #expect(throws: PetarError.self) { try layer.packed() }
  }

  /// Whole numbers: every sum is exact. More rows, columns and depth than are worked on at a time, and odd remainders.
  @Test("Products of matrices", arguments: [(5, 7, 3), (200, 300, 600)], [false, true])
  func products(_ shape: (rows: Int, columns: Int, depth: Int), _ transposed: Bool) throws {
    let (rows, columns, depth) = shape
    var noise = Noise(20)
    let a = (0..<rows * depth).map { _ in Float(noise.bits() % 9) - 4 }
    let b = (0..<depth * columns).map { _ in Float(noise.bits() % 9) - 4 }
    var results = [Float](repeating: 1000, count: rows * columns)
    let left = transposed ? Factor(a, stride: rows, transposed: true) : Factor(a, stride: depth)
    let right = transposed ? Factor(b, stride: depth, transposed: true) : Factor(b, stride: columns)
    let product = MatrixProduct(
      try compute(threads: 2), rows: rows, columns: columns, depth: depth, subtracting: transposed)
    try results.withUnsafeMutableBufferPointer { results in
      guard let base = results.baseAddress else { return }
      try product.run(left, right, into: base, stride: columns, scratch: Scratch())
    }
    for row in stride(from: 0, to: rows, by: 3) {
      for column in 0..<columns {
        let sum = (0..<depth).reduce(Float(0)) { sum, k in
          sum + (transposed ? a[k * rows + row] * b[column * depth + k] : a[row * depth + k] * b[k * columns + column])
        }
        #expect(results[row * columns + column] == 1000 + (transposed ? -sum : sum))
      }
    }
  }
}
