import Petar

/// Describes a lesion again and again and times the stages as they pass by, probing the machine between them.
///
/// What is timed is what every caller gets: `Session.describe`, heard through its observer. The time of the probes
/// themselves is left out.
final class LesionRun {
  private(set) var petPass = Stage("encode, PET pass")
  private(set) var ctPass = Stage("encode, CT pass")
  private(set) var encode = Stage("encode")
  private(set) var prefill: Stage
  private(set) var decode = Stage("decode, batch 1", tokens: 1)
  private(set) var lesion = Stage("lesion")
  /// Every probe taken between stages.
  private(set) var readProbes = Samples()
  private(set) var computeProbes = Samples()

  let positions: Int
  let maxTokens: Int
  private let session: Session
  private let exam: Exam
  private let request: DescribeRequest
  private let machine: Machine
  private let pool: ThreadPool
  private let work: Work
  private let peak: Machine.Limit
  private let layers: Int

  private static let wantedPositions = 290
  private static let wantedTokens = 60
  /// Tokens between two probes of the bandwidth while decoding.
  private static let segmentTokens = 15

  init(_ session: Session, _ machine: Machine, _ pool: ThreadPool, peak: Machine.Limit) throws {
    let model = session.model
    self.session = session
    self.machine = machine
    self.pool = pool
    self.peak = peak
    work = Work(model.file)
    layers = model.description.vision.layers
    exam = try Phantom.exam()

    // The question grows by words until the prompt is as long as it is to be.
    let context = model.description.decoder.context
    let target = min(Self.wantedPositions, context - min(Self.wantedTokens, context / 2))
    var question = model.description.prompt.question
    var prompt = try model.prompt(question: question)
    while prompt.count < target {
      question += " a"
      prompt = try model.prompt(question: question)
    }
    positions = prompt.count
    maxTokens = min(Self.wantedTokens, context - positions)
    prefill = Stage("prefill, \(positions) positions", tokens: positions)
    var request = DescribeRequest()
    request.question = question
    request.maxTokens = maxTokens
    // A token a step: random weights repeat themselves, which would be guessed.
    request.drafts = false
    self.request = request
  }

  var stages: [Stage] { [petPass, ctPass, encode, prefill, decode, lesion] }

  func run() throws {
    let run = Timeline(self)
    var observer = DescribeObserver()
    observer.onWarnings = { _ in run.encodeBegins() }
    observer.onProgress = { stage, fraction in
      switch stage.description {
      case "encode": run.layerEnds()
      case "prefill": fraction < 1 ? run.prefillBegins() : run.decodeBegins()
      default: break
      }
    }
    observer.onToken = { _, _, id in if id != nil { run.tokenIsThere() } }
    _ = try session.describe(exam, request, observer: observer)
    run.ends()
  }

  private func probe(_ limit: Machine.Limit) -> Double { machine.measure(limit, on: pool) ?? .nan }

  /// One description as it goes by.
  private final class Timeline {
    private let owner: LesionRun
    private var clock = Stopwatch()
    private var (layersDone, passStart, prefilling) = (0, 0.0, false)
    private var passes: [Double] = []
    private var (computeBefore, readBefore) = (0.0, 0.0)
    /// Seconds of the steps since the last probe.
    private var segment: [Double] = []
    private var (total, totalLimit) = (0.0, 0.0)
    private var tokens = 0

    init(_ owner: LesionRun) { self.owner = owner }

    func encodeBegins() {
      computeBefore = probeCompute()
      clock = Stopwatch()
    }

    func layerEnds() {
      layersDone += 1
      guard layersDone % owner.layers == 0 else { return }
      let now = clock.seconds
      passes.append(now - passStart)
      passStart = now
    }

    /// Called before each layer of the prompt; the first call ends the encoding.
    func prefillBegins() {
      guard !prefilling else { return }
      prefilling = true
      let seconds = clock.seconds
      let rate = rateSince()
      for (index, pass) in passes.enumerated() {
        // PET and CT take turns.
        let isPET = index % 2 == 0
        let limit = owner.work.pass(pet: isPET) / rate
        if isPET { owner.petPass.append(pass, limit: limit) } else { owner.ctPass.append(pass, limit: limit) }
      }
      count(seconds, owner.work.encode / rate, in: \.encode)
      clock = Stopwatch()
    }

    func decodeBegins() {
      let seconds = clock.seconds
      let rate = rateSince()
      count(seconds, owner.work.prefill(positions: owner.positions) / rate, in: \.prefill)
      readBefore = probeRead()
      clock = Stopwatch()
    }

    /// The first token comes out of the prompt; each further one takes a step.
    func tokenIsThere() {
      tokens += 1
      if tokens > 1 { segment.append(clock.seconds) }
      if segment.count == LesionRun.segmentTokens { endSegment() }
      clock = Stopwatch()
    }

    func ends() {
      endSegment()
      owner.lesion.append(total, limit: totalLimit)
    }

    private func endSegment() {
      guard !segment.isEmpty else { return }
      let after = probeRead()
      let limit = owner.work.stepBytes / ((readBefore + after) / 2)
      for seconds in segment { count(seconds, limit, in: \.decode) }
      readBefore = after
      segment = []
    }

    private func count(_ seconds: Double, _ limit: Double, in stage: ReferenceWritableKeyPath<LesionRun, Stage>) {
      owner[keyPath: stage].append(seconds, limit: limit)
      total += seconds
      totalLimit += limit
    }

    /// The mean of the peak before and after what has just ended.
    private func rateSince() -> Double {
      let after = probeCompute()
      defer { computeBefore = after }
      return (computeBefore + after) / 2
    }

    private func probeCompute() -> Double {
      let rate = owner.probe(owner.peak)
      owner.computeProbes.append(rate)
      return rate
    }

    private func probeRead() -> Double {
      let rate = owner.probe(.read)
      owner.readProbes.append(rate)
      return rate
    }
  }
}
