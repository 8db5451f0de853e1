import Glibc
import Petar
import Testing

@Suite("Rotary position embedding") struct RotaryTableTests {
  /// Against the formula in double precision. An angle of up to 300 rounded to f32 is off by at most 1.6e-5.
  @Test func matchesTheFormula() throws {
    let table = try RotaryTable(positions: 300, headWidth: 96, theta: 10000)
    for position in stride(from: 0, to: 300, by: 7) {
      for index in 0..<48 {
        let angle = Double(position) * pow(10000, -Double(index) / 48)
        #expect(abs(Double(table.cosines(from: position)[index]) - cos(angle)) < 4e-5)
        #expect(abs(Double(table.sines(from: position)[index]) - sin(angle)) < 4e-5)
      }
    }
  }
}
