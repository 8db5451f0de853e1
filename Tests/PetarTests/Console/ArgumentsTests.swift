import PetarConsole
import Testing

@Suite("Console: the command line") struct ArgumentsTests {
  private enum Colour: String, CaseIterable { case red, green }

  private func arguments(_ words: String...) throws -> Arguments {
    try Arguments(words, valued: ["-o", "--count", "--share", "--colour", "--threads"], plain: ["--json"])
  }

  private func message(_ body: () throws -> some Any) -> String? {
    do {
      _ = try body()
      return nil
    } catch {
      return (error as? UsageError)?.message
    }
  }

  @Test("A value follows its option or an equals sign; after -- all words are positional") func words() throws {
    let one = try arguments("file", "-o", "out", "--count=-3", "--json", "--", "--json")
    #expect(one.positionals == ["file", "--json"] && one.has("--json") && one.value("-o") == "out")
    #expect(try one.wholeNumber("--count") == -3)
    #expect(try arguments("--colour", "--json").value("--colour") == "--json")
    #expect(try arguments("-").single("file") == "-")
    #expect(try arguments("--colour", "green,red").choices("--colour") == Set(Colour.allCases))
  }

  @Test("What is not given has its standard") func standards() throws {
    let none = try arguments()
    #expect(try none.wholeNumber("--count", in: 1...9, unlessGiven: 0) == 0)
    #expect(try none.number("--share", unlessGiven: 0.5) == 0.5)
    #expect(try none.choice("--colour") as Colour? == nil)
    #expect(try none.choices("--colour") == Set<Colour>())
    #expect(try none.threads(unlessGiven: 7) == 7)
    try none.onlyOptions()
  }

  @Test("Each mistake has its sentence")
  func mistakes() throws {
    #expect(message { try arguments("--speed") } == "there is no option --speed here")
    #expect(message { try arguments("--json=yes") } == "there is no option --json=yes here")
    #expect(message { try arguments("-o") } == "-o needs a value")
    #expect(message { try arguments("-o", "a", "-o", "b") } == "-o is given twice")
    #expect(message { try arguments().single("file") } == "file is missing")
    #expect(message { try arguments("a", "b").single("file") } == "one file is expected, b is one more word than that")
    #expect(message { try arguments("a").onlyOptions() } == "a: only options are expected here")
    #expect(message { try arguments().required("-o") } == "-o is missing")
    #expect(message { try arguments("-o", "").required("-o") } == "-o is missing")
    #expect(message { try arguments().wholeNumber("--count", in: 1...9) } == "--count is missing")
    for text in ["10", "0", "1.5", "two", ""] {
      #expect(
        message { try arguments("--count", text).wholeNumber("--count", in: 1...9) }
          == "--count \(text): a whole number in 1...9 is expected")
    }
    #expect(
      message { try arguments("--count", "2147483648").wholeNumber("--count", unlessGiven: Int32(0)) }
        == "--count 2147483648: a whole number in -2147483648...2147483647 is expected")
    #expect(
      message { try arguments("--share", "half").number("--share", unlessGiven: Float(0)) }
        == "--share half: a number is expected")
    #expect(
      message { try arguments("--colour", "blue").choice("--colour") as Colour? }
        == "--colour blue: it is one of red, green")
    #expect(
      message { try arguments("--colour", "red,blue").choices("--colour") as Set<Colour> }
        == "--colour blue: it is one of red, green")
    #expect(message { try arguments("--threads", "0").threads() } != nil)
  }
}
