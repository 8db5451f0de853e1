import CPetar
import PetarConsole

/// What the person asked for.
struct Request {
  let model, pet, ct, mask: String
  let petUnit: petar_unit
  let suvFactor: Double
  let ctOutside: petar_ct_outside
  let question: String?
  /// 0 for the model's.
  let maxTokens: Int32
  let temperature, topP: Float
  let seed: UInt64
  let label: Int32
  let eachLabel: Bool
  /// 0 for the library's choice.
  let batch: Int32
  let json: Bool
  let dump: String?
  /// 0 for all processors.
  let threads: Int
  let isa: String?
  let verify: Bool

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
  init(_ words: some Sequence<String>) throws {
    let arguments = try Arguments(
      words,
      valued: [
        "--model", "--pet", "--pet-unit", "--suv-factor", "--ct", "--mask", "--label", "--batch", "--ct-outside",
        "--question", "--max-tokens", "--temperature", "--top-p", "--seed", "--dump", "--threads", "--isa",
      ],
      plain: ["--each-label", "--json", "--verify"])
    try arguments.onlyOptions()
    model = try arguments.required("--model")
    pet = try arguments.required("--pet")
    petUnit = try arguments.choice(
      "--pet-unit", [("suv", PETAR_UNIT_SUV), ("bqml", PETAR_UNIT_BQML)], unlessGiven: PETAR_UNIT_SUV)
    suvFactor = try arguments.number("--suv-factor", unlessGiven: 0)
    ct = try arguments.required("--ct")
    ctOutside = try arguments.choice(
      "--ct-outside", [("released", PETAR_CT_OUTSIDE_RELEASED), ("air", PETAR_CT_OUTSIDE_AIR)],
      unlessGiven: PETAR_CT_OUTSIDE_RELEASED)
    mask = try arguments.required("--mask")
    label = try arguments.wholeNumber("--label", unlessGiven: 0)
    eachLabel = arguments.has("--each-label")
    batch = try arguments.wholeNumber("--batch", in: 1...16, unlessGiven: 0)
    question = arguments.value("--question")
    maxTokens = try arguments.wholeNumber("--max-tokens", unlessGiven: 0)
    temperature = try arguments.number("--temperature", unlessGiven: 0)
    topP = try arguments.number("--top-p", unlessGiven: 1)
    seed = try arguments.wholeNumber("--seed", unlessGiven: 0)
    json = arguments.has("--json")
    dump = arguments.value("--dump")
    threads = try arguments.threads(unlessGiven: 0)
    isa = arguments.value("--isa")
    verify = arguments.has("--verify")

    if eachLabel && (arguments.value("--label") != nil || dump != nil) {
      throw UsageError(message: "--each-label does not go with --label or --dump")
    }
    if !eachLabel && arguments.value("--batch") != nil {
      throw UsageError(message: "--batch goes with --each-label")
    }
    if (petUnit == PETAR_UNIT_BQML) != (suvFactor != 0) {
      throw UsageError(message: "--pet-unit bqml and --suv-factor go together")
    }
  }
}
