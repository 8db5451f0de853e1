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

  /// Below and above the size of a block and of what is cut for threads, by rows and by columns, no multiples of either;
  /// as a layer's outputs, the gradients of its inputs and those of its weights come.
  private static let shapes = [(5, 3, 2), (200, 150, 230), (150, 400, 97), (96, 96, 96), (65, 129, 1000)].flatMap {
    rows, columns, depth in
    [(false, true), (false, false), (true, false)].map {
      Shape(rows: rows, columns: columns, depth: depth, transposedLeft: $0, transposedRight: $1)
    }
  }

  @Test("Products agree with sums in Double, and what lies beside them stays", arguments: shapes, [false, true])
  private func sums(_ shape: Shape, adding: Bool) throws {
    let (rows, columns, depth) = (shape.rows, shape.columns, shape.depth)
    // Every row of memory is wider than what is used of it.
    let (leftStride, rightStride) = (
      (shape.transposedLeft ? rows : depth) + 3, (shape.transposedRight ? depth : columns) + 5
    )
    let left = Numbers.ordinary.make((shape.transposedLeft ? depth : rows) * leftStride, seed: 1)
    let right = Numbers.ordinary.make((shape.transposedRight ? columns : depth) * rightStride, seed: 2)
    let stride = columns + 7
    let before = Numbers.ordinary.make(rows * stride, seed: 3)
    var result = before
    let engine = try Engine(pool: ThreadPool(threads: 2))
    left.withUnsafeBufferPointer { left in
      right.withUnsafeBufferPointer { right in
        result.withUnsafeMutableBufferPointer { result in
          guard let a = left.baseAddress, let b = right.baseAddress, let c = result.baseAddress else { return }
          engine.multiply(
            Factor(a, stride: leftStride, transposed: shape.transposedLeft),
            Factor(b, stride: rightStride, transposed: shape.transposedRight), into: c, stride: stride,
            Extents(rows: rows, columns: columns, depth: depth), scale: 0.5, adding: adding)
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
        error = larger(error, abs(0.5 * sum + (adding ? Double(before[at]) : 0) - Double(result[at])))
      }
      let beside = (row * stride + columns)..<(row * stride + stride)
      #expect(result[beside] == before[beside])
    }
    // Factors are below 1, so that sums are some sqrt(depth) / 3, and each of `depth` additions rounds them by 6e-8.
    #expect(error < 1e-6 * Double(depth).squareRoot())
  }
}
