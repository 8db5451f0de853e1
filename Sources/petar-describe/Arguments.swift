import CPetar

/// What the person asked for.
struct Arguments {
  var model = "", pet = "", ct = "", mask = ""
  var petUnit = PETAR_UNIT_SUV
  var suvFactor = 0.0
  var ctOutside = PETAR_CT_OUTSIDE_RELEASED
  var question: String?
  var maxTokens: Int32 = 0
  var temperature: Float = 0
  var topP: Float = 1
  var seed: UInt64 = 0
  var label: Int32 = 0
  var eachLabel = false
  var batch: Int32?
  var json = false
  var dump: String?
  var threads: Int32 = 0
  var isa: String?
  var verify = false

  static let help = """
    petar-describe - write the finding for one lesion of a PET/CT exam

    usage: petar-describe --model FILE --pet P.nii.gz --ct C.nii.gz --mask M.nii.gz [options]

    The finding is streamed to standard output, progress and warnings to standard error.
    PET, CT and mask may have different grids, orientations and fields of view.

    input
      --model FILE          a .petar file (made by petar-convert)
      --pet FILE            PET as NIfTI (.nii, .nii.gz, .hdr/.img), in SUV (body weight, g/mL)
      --pet-unit suv|bqml   what the PET values are (default: suv)
      --suv-factor F        with bqml: SUV = value * F. F is the body weight in g / the injected dose in Bq,
                            decay-corrected to the start of the scan.
      --ct FILE             CT as NIfTI, in HU
      --mask FILE           mask or label map as NIfTI: whole numbers, 0 is background
      --label N             describe the lesion with label N of a label map (default: all of the mask is one lesion)
      --each-label          describe every label, one JSON object a line, written as soon as the lesion is finished;
                            for one that cannot be described, {"label": N, "error": {"status": S, "message": "..."}}
      --ct-outside released|air
                            what CT is outside its field of view: 0 HU as the released PETAR-4B has it (default),
                            or -1000 HU, for a CT that does not cover the PET

    text
      --question TEXT       ask this instead of the model's default question
      --max-tokens N        stop after N tokens (default: the model's, 256 for PETAR-4B)
      --temperature T       sample with this temperature (default 0: greedy, the most likely token each time)
      --top-p P             sample from the most likely tokens that hold this share of probability (default 1)
      --seed N              of the sampling (default 0)

    output
      --json                one JSON object: finding, tokens, question, stop_reason, decoder_passes, settings,
                            timings_s, geometry, model, library, notice, warnings
      --dump DIR            also write what the network saw and said: pet.npy, mask.npy, ct.npy, pet_focal.npy,
                            mask_focal.npy, ct_focal.npy, vision.npy, logits.npy

    machine (the result depends on none of these)
      --threads N           default: all processors
      --batch N             with --each-label: lesions written side by side, 1 to 16 (default 8). More are faster and take
                            more memory, 0.1 GB each for 256 tokens of PETAR-4B.
      --isa NAME            force an instruction set (scalar; avx2, avxvnni, avx512vnni, amx; neon; default: PETAR_ISA or
                            the best)
      --verify              compare every tensor of the model with its checksum first

      --help, --version

    exit status: 0 done, 2 wrong usage, else the petar_status of what failed (petar.h): 10-13 an argument, 20 cancelled,
    30 out of memory, 40-43 model, other file or standard output, 50-54 volumes and mask, 60-62 text, 90 a defect of the
    library. With --each-label: of the first lesion that failed.

    example
      petar-describe --model petar-4b-q8.petar --pet suv.nii.gz --ct ct.nii.gz --mask lesions.nii.gz --label 3

    For research use only. Not a medical device.
    """

  /// - Throws: `UsageError`.
  init(_ words: [String]) throws {
    var rest = words[...]
    func value(_ option: String) throws -> String {
      guard let value = rest.popFirst() else { throw UsageError(message: "\(option) needs a value") }
      return value
    }
    func number<Number: LosslessStringConvertible>(_ option: String, _: Number.Type = Number.self) throws -> Number {
      let text = try value(option)
      guard let number = Number(text) else {
        let whole = (Number.self as? any FixedWidthInteger.Type).map { "whole number up to \($0.max)" }
        throw UsageError(message: "\(option) needs a \(whole ?? "number"), not '\(text)'")
      }
      return number
    }
    func choice<Choice>(_ option: String, _ choices: KeyValuePairs<String, Choice>) throws -> Choice {
      let text = try value(option)
      guard let choice = choices.first(where: { $0.key == text }) else {
        throw UsageError(message: "\(option) is \(choices.map(\.key).joined(separator: " or ")), not '\(text)'")
      }
      return choice.value
    }
    while let word = rest.popFirst() {
      // "--name=value" is "--name value".
      let parts = word.split(separator: "=", maxSplits: 1, omittingEmptySubsequences: false).map(String.init)
      let option = word.hasPrefix("--") ? parts[0] : word
      if word.hasPrefix("--"), parts.count == 2 { rest = [parts[1]] + rest }
      switch option {
      case "--model": model = try value(option)
      case "--pet": pet = try value(option)
      case "--pet-unit": petUnit = try choice(option, ["suv": PETAR_UNIT_SUV, "bqml": PETAR_UNIT_BQML])
      case "--suv-factor": suvFactor = try number(option)
      case "--ct": ct = try value(option)
      case "--mask": mask = try value(option)
      case "--label": label = try number(option)
      case "--each-label": eachLabel = true
      case "--batch": batch = try number(option)
      case "--ct-outside":
        ctOutside = try choice(option, ["released": PETAR_CT_OUTSIDE_RELEASED, "air": PETAR_CT_OUTSIDE_AIR])
      case "--question": question = try value(option)
      case "--max-tokens": maxTokens = try number(option)
      case "--temperature": temperature = try number(option)
      case "--top-p": topP = try number(option)
      case "--seed": seed = try number(option)
      case "--json": json = true
      case "--dump": dump = try value(option)
      case "--threads": threads = try number(option)
      case "--isa": isa = try value(option)
      case "--verify": verify = true
      default: throw UsageError(message: "'\(option)' is not an option")
      }
    }
    for (option, path) in [("--model", model), ("--pet", pet), ("--ct", ct), ("--mask", mask)] where path.isEmpty {
      throw UsageError(message: "\(option) is missing")
    }
    if eachLabel && (label != 0 || dump != nil) {
      throw UsageError(message: "--each-label does not go with --label or --dump")
    }
    if let batch, !eachLabel || !(1...16).contains(batch) {
      throw UsageError(message: eachLabel ? "--batch is 1 to 16, not \(batch)" : "--batch goes with --each-label")
    }
    if (petUnit == PETAR_UNIT_BQML) != (suvFactor != 0) {
      throw UsageError(message: "--pet-unit bqml and --suv-factor go together")
    }
  }
}

struct UsageError: Error {
  let message: String
}
