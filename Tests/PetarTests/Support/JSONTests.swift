import Testing

import Petar

@Suite("JSON") struct JSONTests {
  @Test func escapesAndOrder() {
    let json = JSON.object([("b", .string("a\"\n\u{1}é")), ("a", .array([.integer(1), .number(0.5), .null]))])
    #expect(json.text == "{\"b\": \"a\\\"\\n\\u0001é\", \"a\": [1, 0.5, null]}")
  }

  @Test func whatJSONCannotHold() {
    #expect(JSON.numbers([Double.nan, .infinity, -.infinity]).text == "[null, null, null]")
    #expect(JSON.array([.optional(nil), .optional(2.5), .bool(true)]).text == "[null, 2.5, true]")
  }

  /// Whole numbers have no point, as long as an integer holds them with room to spare.
  @Test func numbersComeBack() {
    #expect(
      JSON.numbers([3, -3, 999_999_999_999_999, 1e15, -1e300]).text
        == "[3, -3, 999999999999999, 1000000000000000.0, -1e+300]")
    #expect(JSON.integer(.min).text == "-9223372036854775808")
  }

  @Test(arguments: [
    ("\\", "\\\\"), ("\r", "\\r"), ("\t", "\\t"), ("\u{8}", "\\u0008"), ("\u{1f}", "\\u001f"), ("\u{7f}/🦙", "\u{7f}/🦙"),
  ])
  func escapes(character: String, written: String) {
    #expect(JSON.string(character).text == "\"\(written)\"")
  }
}
