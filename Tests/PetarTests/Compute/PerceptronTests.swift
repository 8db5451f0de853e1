import Petar
import Testing

@Suite("Perceptrons in int8") struct PerceptronTests {
  /// Of the second layer: columns, and the block of its rotation.
  static let hidden: [(columns: Int, groupSize: Int, rotation: Int)] = [
    (192, 64, 64),  // three blocks
    (512, 128, 256),
    (320, 32, 64),
    (192, 128, 64),  // a group spans two blocks: all columns at once
    (70, 64, 1),  // no rotation, and a last panel of 6 outputs
  ]

  @Test(
    "Both layers at once give the bits of one after the other",
    arguments: [(Encoding.q8, Encoding.q8), (.q8, .q4), (.q4, .q8), (.q4, .q4)])
  func sameBits(_ first: Encoding, _ second: Encoding) throws {
    let (width, outputs) = (128, 40)
    let weight = Numbers.ordinary.make(width, seed: 1)
    let bias = Numbers.ordinary.make(width, seed: 2)
    for (columns, groupSize, rotation) in Self.hidden where second == .q8 || groupSize % 64 == 0 {
      let w1 = try Matrix(
        packing: Numbers.ordinary.make(columns * width, seed: 3),
        MatrixLayout(first, rows: columns, columns: width, groupSize: 64, rotation: 128))
      let w2 = try Matrix(
        packing: Numbers.ordinary.make(outputs * columns, seed: 4),
        MatrixLayout(second, rows: outputs, columns: columns, groupSize: groupSize, rotation: rotation))
      let (b1, b2) = (Numbers.ordinary.make(columns, seed: 5), Numbers.ordinary.make(outputs, seed: 6))
      try weight.withUnsafeBufferPointer { weight in
        try bias.withUnsafeBufferPointer { bias in
          guard let weight = weight.baseAddress, let bias = bias.baseAddress else { return }
          let norm = RowPrelude.layerNorm(LayerNormalization(weight: weight, bias: bias, epsilon: 1e-5))
          for rows in [1, 4, 9, 250] {  // 250 are several parts
            let x = Numbers.ordinary.make(rows * width, seed: 7)
            let residual = Numbers.ordinary.make(rows * outputs, seed: 8)
            let plain = try compute()
            let between = try plain.linear(x, rows: rows, after: norm, w1, bias: b1, .gelu)
            let expected = try plain.linear(between, rows: rows, w2, bias: b2, onto: residual, .add)
            for set in instructionSets {
              for threads in [1, 3] {
                var result = residual
                try compute(set, threads: threads).perceptron(
                  x, rows: rows, after: norm, w1, bias: b1, w2, bias: b2, into: &result, scratch: Scratch())
                #expect(bits(result) == bits(expected), "\(set) \(threads) \(rows) x \(columns) by \(rotation)")
              }
            }
          }
        }
      }
    }
  }

  @Test("Other matrices are refused")
  func refused() throws {
    let int8 = try matrix(Numbers.ordinary.make(64 * 32, seed: 1), .q8, rows: 64, columns: 32)
    let float = try matrix(Numbers.ordinary.make(64 * 32, seed: 1), .f32, rows: 32, columns: 64)
    let x = [Float](repeating: 1, count: 32)
    var out = [Float](repeating: 0, count: 64)
    #expect(throws: PetarError.self) {
      try compute().perceptron(
        x, rows: 1, after: .siluGate, int8, bias: nil, float, bias: nil, into: &out, scratch: Scratch())
    }
    #expect(throws: PetarError.self) {
      try compute().perceptron(
        x, rows: 1, after: .siluGate, int8, bias: nil, int8, bias: nil, into: &out, scratch: Scratch())
    }
  }
}
