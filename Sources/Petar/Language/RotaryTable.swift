import Glibc

/// Cosines and sines of rotary position embedding (RoFormer; rotate-half form of Llama and Phi-3).
///
/// Frequencies and angles are rounded to f32 as transformers does, so that long prompts agree with it too.
package struct RotaryTable: Sendable {
  package let positions: Int
  private let half: Int
  /// (positions, headWidth / 2) each.
  private let cosines: Buffer<Float>
  private let sines: Buffer<Float>

  package init(positions: Int, headWidth: Int, theta: Double) throws {
    self.positions = positions
    half = headWidth / 2
    cosines = try Buffer(count: positions * half)
    sines = try Buffer(count: positions * half)
    for index in 0..<half {
      let frequency = Float(1 / pow(theta, Double(2 * index) / Double(headWidth)))
      for position in 0..<positions {
        let angle = Double(Float(position) * frequency)
        cosines.base[position * half + index] = Float(cos(angle))
        sines.base[position * half + index] = Float(sin(angle))
      }
    }
  }

  /// The values of `position` and the positions after it, headWidth / 2 each.
  package func cosines(from position: Int) -> UnsafePointer<Float> { UnsafePointer(cosines.base + position * half) }
  package func sines(from position: Int) -> UnsafePointer<Float> { UnsafePointer(sines.base + position * half) }
}
