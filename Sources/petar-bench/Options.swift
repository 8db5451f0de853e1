import PetarConsole

struct Options {
  let model: String
  let json: Bool
  let threads: Int
  let repeats: Int
  let isa: String?
  let findings: String?

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
    let arguments = try Arguments(words, valued: ["--threads", "--repeat", "--isa", "--findings"], plain: ["--json"])
    model = try arguments.single("FILE.petar")
    json = arguments.has("--json")
    threads = try arguments.threads()
    repeats = try arguments.wholeNumber("--repeat", in: 1...100, unlessGiven: 5)
    isa = arguments.value("--isa")
    findings = arguments.value("--findings")
  }
}
