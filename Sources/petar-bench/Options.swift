import Petar

/// A command line that cannot be understood: the sentence for the user.
struct UsageError: Error {
  let message: String
}

struct Options {
  var model = ""
  var json = false
  var threads = ThreadPool.processors
  var repeats = 5
  var isa: String?
  var findings: String?

  static let help = """
    petar-bench - how fast a model is described with, and how near that comes to what the machine can do

    usage: petar-bench FILE.petar [options]

    Measures the machine, then loads the model and describes a generated lesion several times. The limits of a stage
    are measured right before and right after it, because they move while other programs run.

      --json                one JSON object instead of the table
      --threads N           default: all processors
      --repeat R            lesions to describe, 1...100 (default 5); medians are given, with the least and the greatest
      --findings FILE       also measure what guessing ahead saves on findings like these: one a line, its tokens
                            separated by spaces, as in Benchmarks/findings.tokens.txt
      --isa NAME            force an instruction set (default: PETAR_ISA or the best)

      --help, --version

    Stages
      load                  from opening the file to a session that is ready
      encode, PET/CT pass   one tower over one view
      encode                two views, two towers, pooling, projector
      prefill               a prompt of 290 positions
      decode, batch 1       one token after another, at 291 to 350 positions
      lesion                encode + prefill + decode of 60 tokens; preparing the images is left out
      step of N texts       one token of each of N texts side by side, as in a batch of lesions
      findings              with --findings: decode of a finding after the other, without and with drafts in turn

    Limits
      The operations of the linear layers and of attention at the int8 peak (f32 peak for f32 and f16 weights); for
      decode, the bytes of the decoder's weights at the sustained read bandwidth.

    example
      petar-convert synth --shape petar-4b --weights q8 -o petar-4b-q8.petar
      petar-bench petar-4b-q8.petar

    """

  /// - Throws: `UsageError`.
  init(_ words: some Sequence<String>) throws {
    var rest = Array(words)[...]
    func value(_ option: String) throws -> String {
      guard let value = rest.popFirst() else { throw UsageError(message: "\(option) needs a value") }
      return value
    }
    func count(_ option: String, _ range: ClosedRange<Int>) throws -> Int {
      let text = try value(option)
      guard let number = Int(text), range.contains(number) else {
        throw UsageError(
          message: "\(option) \(text): a whole number in \(range.lowerBound)...\(range.upperBound) is expected")
      }
      return number
    }
    while let word = rest.popFirst() {
      switch word {
      case "--json": json = true
      case "--threads": threads = try count(word, 1...256)
      case "--repeat": repeats = try count(word, 1...100)
      case "--isa": isa = try value(word)
      case "--findings": findings = try value(word)
      case _ where word.hasPrefix("-"): throw UsageError(message: "there is no option \(word)")
      case _ where model.isEmpty: model = word
      default: throw UsageError(message: "one model is expected, \(word) is one more word than that")
      }
    }
    guard !model.isEmpty else { throw UsageError(message: "FILE.petar is missing") }
  }
}
