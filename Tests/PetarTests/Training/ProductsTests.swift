import Petar
import PetarConversion
import PetarTraining
import Testing

@Suite("Training: products") struct ProductsTests {
  private struct Shape: CustomTestStringConvertible, Sendable {
    let rows, columns, depth: Int
    let transposedLeft, transposedRight: Bool

    var testDescription: String {
      "\(rows) x \(columns), depth \(depth)\(transposedLeft ? ", left" : "")\(transposedRight ? ", right" : "")"
    }
  }

  /// What a product is added to: nothing, what is there, or a bias and rows elsewhere, as a layer has them; or it multiplies
  /// what is there.
  private enum Use: CaseIterable {
    case alone, addedToResult, addedToBiasAndRows, multiplied
  }

  /// Below and above the size of a tile, of a block, of what is cut for threads and of a small weight, by rows, by columns
  /// and by depth, no multiples of any; as a layer's outputs, the gradients of its inputs and those of its weights come.
  private static let shapes = [
    (5, 3, 2), (200, 150, 230), (150, 400, 97), (96, 96, 96), (65, 129, 1000), (101, 1010, 267), (17, 2000, 1100),
  ].flatMap {
    rows, columns, depth in
    [(false, true), (false, false), (true, false)].map {
      Shape(rows: rows, columns: columns, depth: depth, transposedLeft: $0, transposedRight: $1)
    }
  }

  @Test("Products agree with sums in Double, and what lies beside them stays", arguments: shapes, Use.allCases)
  private func sums(_ shape: Shape, _ use: Use) throws {
    let (rows, columns, depth) = (shape.rows, shape.columns, shape.depth)
    // Every row of memory is wider than what is used of it.
    let (leftStride, rightStride) = (
      (shape.transposedLeft ? rows : depth) + 3, (shape.transposedRight ? depth : columns) + 5
    )
    let left = Numbers.ordinary.make((shape.transposedLeft ? depth : rows) * leftStride, seed: 1)
    let right = Numbers.ordinary.make((shape.transposedRight ? columns : depth) * rightStride, seed: 2)
    let stride = columns + 7
    let before = Numbers.ordinary.make(rows * stride, seed: 3)
    let bias = Numbers.ordinary.make(columns, seed: 4)
    let elsewhere = Numbers.ordinary.make(rows * stride, seed: 5)
    var result = before
    let engine = try Engine(pool: ThreadPool(threads: 2))
    left.withUnsafeBufferPointer { left in
      right.withUnsafeBufferPointer { right in
        result.withUnsafeMutableBufferPointer { result in
          bias.withUnsafeBufferPointer { bias in
            elsewhere.withUnsafeBufferPointer { elsewhere in
              guard let a = left.baseAddress, let b = right.baseAddress, let c = result.baseAddress else { return }
              let epilogue =
                switch use {
                case .alone: Epilogue()
                case .addedToResult: Epilogue(rows: c)
                case .addedToBiasAndRows: Epilogue(bias: bias.baseAddress, rows: elsewhere.baseAddress)
                case .multiplied: Epilogue(multiplies: true)
                }
              engine.multiply(
                Factor(a, stride: leftStride, transposed: shape.transposedLeft),
                Factor(b, stride: rightStride, transposed: shape.transposedRight), into: c, stride: stride,
                Extents(rows: rows, columns: columns, depth: depth), scale: 0.5, then: epilogue)
            }
          }
        }
      }
    }
    var error = 0.0
    for row in 0..<rows {
      for column in 0..<columns {
        var sum = 0.0
        for k in 0..<depth {
          let x = left[shape.transposedLeft ? k * leftStride + row : row * leftStride + k]
          let y = right[shape.transposedRight ? column * rightStride + k : k * rightStride + column]
          sum += Double(x) * Double(y)
        }
        let at = row * stride + column
        let expected =
          switch use {
          case .alone: 0.5 * sum
          case .addedToResult: 0.5 * sum + Double(before[at])
          case .addedToBiasAndRows: 0.5 * sum + Double(bias[column]) + Double(elsewhere[at])
          case .multiplied: 0.5 * sum * Double(before[at])
          }
        error = larger(error, abs(expected - Double(result[at])))
      }
      let beside = (row * stride + columns)..<(row * stride + stride)
      #expect(result[beside] == before[beside])
    }
    // Factors are below 1, so that sums are some sqrt(depth) / 3, and each of `depth` additions rounds them by 6e-8.
    #expect(error < 1e-6 * Double(depth).squareRoot())
  }
}
