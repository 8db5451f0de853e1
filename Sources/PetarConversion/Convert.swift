import CPetar
import Glibc
import Petar
import Synchronization

/// Makes a .petar file of a checkpoint folder.
///
/// Memory does not grow with the number of layers: each thread holds one block of rows, and q4 matrices that are
/// calibrated come one after another (`CalibratedDecoder`). The file appears complete or not at all.
/// - Parameters:
///   - checkpoint: the folder, in the layout PETAR and M3D publish.
///   - texts: for q4, a file of texts to calibrate with, one a line; nil for the checkpoint's own typical findings.
///     Without either, weights are rounded one by one.
///   - name: what the model is to be called; nil for the folder's name.
///   - progress: called with the bytes done and the bytes in all, on any thread but one at a time. What it throws ends
///     the conversion and is thrown on.
/// - Throws: `PETAR_ERROR_BAD_FILE` and `UNSUPPORTED` for a checkpoint that cannot be converted, `IO`, `OUT_OF_MEMORY`.
@discardableResult
package func convert(
  checkpoint folder: String, output: String, weights: Encoding, calibrate texts: String? = nil, name: String? = nil,
  threads: Int = 2,
  progress: @escaping @Sendable (_ done: Int, _ total: Int) throws -> Void = { _, _ in }
) throws -> ConversionReport {
  let checkpoint = try Checkpoint(folder: folder)
  let layout = try CheckpointLayout(checkpoint)
  let tokenizer = try CheckpointTokenizer(folder: folder)
  var description = layout.description
  description.name = name ?? folderName(folder)
  description.prompt.imageToken = tokenizer.imageToken
  description.prompt.typicalFindings = checkpoint.typicalFindings
  guard tokenizer.definition.count <= description.decoder.vocabulary else {
    throw PetarError(
      PETAR_ERROR_BAD_FILE,
      "\(folder): the tokenizer has \(tokenizer.definition.count) tokens, the embedding only "
        + "\(description.decoder.vocabulary) rows")
  }
  try description.validate(source: folder)

  let entries = try layout.plans.map { plan in
    PetarFileEntry(name: plan.name, form: try form(of: plan, tensors: checkpoint.tensors, weights: weights))
  }
  let calibration = weights == .q4 ? try calibration(texts, checkpoint, description, tokenizer.definition) : nil
  let writer = try PetarFileWriter(path: output, tensors: entries)
  let files = checkpoint.files + tokenizer.files
  let work = ConversionWork(
    converters: zip(layout.plans, entries).map {
      TensorConverter(plan: $0, entry: $1, tensors: checkpoint.tensors)
    },
    files: files, progress: progress)
  let pool = try ThreadPool(threads: threads)
  try work.run(
    on: pool, except: calibration == nil ? [] : Set(CalibratedDecoder.indices(layout.plans)), into: writer)
  var losses: [Int: CalibratedDecoder.Loss] = [:]
  if let calibration {
    let decoder = CalibratedDecoder(
      description: description, plans: layout.plans, entries: entries, tensors: checkpoint.tensors,
      calibration: calibration, compute: Compute(try InstructionSet(), pool: pool))
    try decoder.run(into: writer, finished: { losses[$0] = $1 }, progress: work.report)
  }

  description.provenance.sourceHash = work.sourceHash()
  description.provenance.source = folderName(folder)
  description.provenance.tool = "petar-convert \(Library.version)"
  if let calibration { description.provenance.tool += ", calibrated with \(calibration.summary)" }
  description.provenance.licence = checkpoint.licence ?? "not stated"
  description.provenance.intendedUse = "For research use only. Not a medical device."
  try writer.finish(description: description, tokenizer: tokenizer.definition, beforeRename: { try work.report(0) })
  return ConversionReport(
    file: try PetarFile.open(path: output, verify: false), plans: layout.plans,
    errors: work.errors.enumerated().map { losses[$0]?.weights ?? $1 }, outputErrors: losses.mapValues(\.outputs),
    calibration: calibration, ignored: layout.ignored)
}

/// The texts of the file, or the checkpoint's typical findings; nil if there are neither.
private func calibration(
  _ texts: String?, _ checkpoint: Checkpoint, _ description: ModelDescription, _ tokenizer: TokenizerDefinition
) throws -> Calibration? {
  guard texts != nil || !checkpoint.typicalFindings.isEmpty else { return nil }
  let tokenizer = try Tokenizer(tokenizer, vocabulary: description.decoder.vocabulary, source: checkpoint.folder)
  if let texts { return try Calibration(path: texts, description, tokenizer) }
  return Calibration(texts: checkpoint.typicalFindings, source: Checkpoint.findingsName, description, tokenizer)
}

/// A tensor of two sides is a matrix, everything else a vector.
private func form(
  of plan: TensorPlan, tensors: [String: CheckpointTensor], weights: Encoding
) throws -> PetarFileEntry.Form {
  let shapes = plan.parts.compactMap { tensors[$0.name]?.shape }
  guard plan.kind != .vector else { return .vector(count: shapes.reduce(0) { $0 + $1.reduce(1, *) }) }
  let columns = shapes.first?.last ?? 0
  return .matrix(
    try MatrixLayout(
      weights: plan.kind.encoding(for: weights), rows: shapes.reduce(0) { $0 + ($1.first ?? 0) }, columns: columns))
}

/// The last part of the path, as the shell would complete it.
private func folderName(_ path: String) -> String {
  let full = realpath(path, nil)
  defer { free(full) }
  let absolute = full.map { String(cString: $0) } ?? path
  return absolute.split(separator: "/").last.map(String.init) ?? absolute
}

/// The tensors and the checksums of the source files, shared out among threads.
private final class ConversionWork: Sendable {
  private enum Job {
    case tensor(Int)
    case checksum(Int)
  }

  private struct State {
    var done = 0
    var failure: (any Error)?
    var errors: [Int: PackingError] = [:]
    var checksums: [Int: [UInt8]] = [:]
  }

  private let converters: [TensorConverter]
  private let files: [SourceFile]
  private let progress: @Sendable (Int, Int) throws -> Void
  private let total: Int
  private let state = Mutex(State())

  init(
    converters: [TensorConverter], files: [SourceFile], progress: @escaping @Sendable (Int, Int) throws -> Void
  ) {
    self.converters = converters
    self.files = files
    self.progress = progress
    total = converters.reduce(0) { $0 + $1.sourceBytes } + files.reduce(0) { $0 + $1.byteCount }
  }

  /// - Parameter except: tensors that somebody else writes.
  /// - Throws: what the first job that failed threw; the others stop at their next block.
  func run(on pool: ThreadPool, except: Set<Int>, into writer: PetarFileWriter) throws {
    var jobs = converters.indices.filter { !except.contains($0) }.map { (Job.tensor($0), converters[$0].sourceBytes) }
    jobs += files.indices.map { (Job.checksum($0), files[$0].byteCount) }
    // The longest first, so that no thread is left alone with one at the end.
    jobs.sort { $0.1 > $1.1 }
    pool.run(jobs.count) { index in
      guard state.withLock({ $0.failure == nil }) else { return }
      do {
        switch jobs[index].0 {
        case .tensor(let tensor):
          let error = try converters[tensor].run(into: writer.tensor(tensor)) { try report($0) }
          state.withLock { $0.errors[tensor] = error }
        case .checksum(let file):
          let checksum = try files[file].sha256 { try report($0) }
          state.withLock { $0.checksums[file] = checksum }
        }
      } catch {
        state.withLock { $0.failure = $0.failure ?? error }
      }
    }
    if let failure = state.withLock({ $0.failure }) { throw failure }
  }

  /// Counts bytes done and passes them on. After a failure elsewhere it throws, to end the job that calls.
  func report(_ bytes: Int) throws {
    try state.withLock { state in
      if let failure = state.failure { throw failure }
      state.done += bytes
      try progress(state.done, total)
    }
  }

  var errors: [PackingError?] { state.withLock { state in converters.indices.map { state.errors[$0] } } }

  /// SHA-256 of the lines that `sha256sum` prints for the files in alphabetical order: the checkpoint's own name.
  func sourceHash() -> String {
    let checksums = state.withLock { $0.checksums }
    let lines = files.indices.map { index in
      (name: files[index].path.split(separator: "/").last ?? "", checksum: checksums[index] ?? [])
    }
    let text = lines.sorted { $0.name < $1.name }.map { "\(hexadecimal($0.checksum))  \($0.name)\n" }.joined()
    return hexadecimal(SHA256.digest(Array(text.utf8)))
  }
}
