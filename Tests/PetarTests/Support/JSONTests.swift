import Testing

import Petar

@Suite("JSON") struct JSONTests {
  @Test func escapesAndOrder() {
    let json = JSON.object([("b", .string("a\"\n\u{1}é")), ("a", .array([.integer(1), .number(0.5), .null]))])
    #expect(json.text == "{\"b\": \"a\\\"\\n\\u0001é\", \"a\": [1, 0.5, null]}")
  }
}
