import CPetar
import Petar
import PetarConsole
import PetarTraining
import Synchronization

/// `petar-train run RECIPE --data DIR --out DIR`
enum RunCommand {
  static let usage = """
    petar-train run: train a model by a recipe, stage after stage.

      petar-train run RECIPE.json --data DIR --out DIR [--seed N] [--without LIST] [--threads N] [--json]

      RECIPE.json  the model or checkpoint to start from and the stages; docs/training.md explains every setting.
                   What it does not say is the paper's or M3D's and is printed.
      --data       a data set as docs/dataset.md describes it; `petar-train phantom` makes one.
      --out        the folder of the run. If it holds this run already, the run goes on where it stopped, to the same
                   bits: after a crash, a full disk or Ctrl-C give the same command again.
      --seed       decides first weights, order and jitter; 1 unless given.
      --without    for ablations: inputs that say nothing, of mask, ct and focal, with commas.
      --threads    all processors unless given. Any number gives the same model.
      --json       prints the summary as one JSON object.

    What is written
      DIR/N-NAME/           the checkpoint after each stage: a Hugging Face folder that petar-convert reads
      DIR/run.json          the recipe with all defaults, the data and the seed
      DIR/metrics.jsonl     loss, learning rate, gradient norm and speed of every step; loss on the validation split
      DIR/N-NAME.state      what is needed to go on with a stage; removed after it

    Exit codes
      0 done    2 wrong usage    4 a file cannot be read or written    130 interrupted, state saved    1 anything else

    Example
      petar-train phantom --exams 100 --seed 1 --out phantoms
      petar-train run Training/petar-tiny.json --data phantoms --out run
      petar-convert run/5-findings -o my-model.petar --weights q8

    """

  static func run(_ words: some Sequence<String>) throws {
    let arguments = try Arguments(
      words, valued: ["--data", "--out", "--seed", "--without", "--threads"], plain: ["--json"])
    let recipe = try Recipe(path: try arguments.single("RECIPE.json"))
    var settings = TrainingRun.Settings(data: try arguments.required("--data"), output: try arguments.required("--out"))
    settings.seed = try arguments.wholeNumber("--seed", unlessGiven: settings.seed)
    settings.omitted = try arguments.choices("--without")
    settings.threads = try arguments.threads()

    Interrupt.watch()
    let screen = Screen()
    defer { screen.close() }
    let run = try TrainingRun(recipe, settings, observer: screen.observer)
    Console.error("\(run.description.text)\n")
    let clock = Stopwatch()
    let checkpoint = try run.run()
    screen.close()
    if arguments.has("--json") {
      let members: [(String, JSON)] = [
        ("checkpoint", .string(checkpoint)), ("seconds", .number(clock.seconds)), ("run", run.description),
      ]
      Console.out(JSON.object(members).text + "\n")
    } else {
      Console.out(
        "\(checkpoint): trained in \(Int(clock.seconds)) s\npetar-convert \(checkpoint) -o MODEL.petar --weights q8\n")
    }
  }
}

/// A bar for each stage, with the loss and the speed.
private final class Screen: Sendable {
  private let bar = Mutex<ProgressBar?>(nil)

  var observer: TrainingRun.Observer {
    var observer = TrainingRun.Observer()
    observer.onStage = { [self] stage, questions, steps, resumedAt in
      close()
      let resumed = resumedAt > 0 ? ", going on after step \(resumedAt)" : ""
      Console.error("stage \(stage): \(questions) questions an epoch, \(steps) steps\(resumed)\n")
      bar.withLock { $0 = ProgressBar(stage) }
    }
    observer.onStep = { [self] step in
      let loss = "loss \(short(step.loss))"
      let note = "\(loss), \(Int(step.tokensPerSecond)) tokens/s"
      bar.withLock { $0?.show(step.step, step.steps, note: note) }
    }
    observer.onSkip = { question, error in
      Console.error("\nskipped exam \(question.exam), \(question.map) \(question.label): \(error.message)\n")
    }
    observer.onWarning = { question, warning in
      Console.error("\nwarning: exam \(question.exam), \(question.map) \(question.label): \(warning)\n")
    }
    observer.check = { try Interrupt.check(outcome: "the same command goes on from here") }
    return observer
  }

  func close() {
    bar.withLock {
      $0?.close()
      $0 = nil
    }
  }
}

/// Four decimals.
private func short(_ value: Double) -> String {
  guard value.isFinite, value < 1e9 else { return "\(value)" }
  return "\((value * 1e4).rounded() / 1e4)"
}
