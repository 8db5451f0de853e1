import CPetar
import Petar
import PetarConversion

extension AdamW {
  private static let stepsName = "steps"

  /// Writes what a later process needs to go on from here, bit for bit: the trained tensors, their moments and the
  /// steps taken. Frozen tensors are not in it. The file appears complete or not at all.
  /// - Throws: `PETAR_ERROR_IO`; `PETAR_ERROR_INTERNAL` for a value that is not finite. What was there is kept then.
  package func write(state path: String) throws {
    let count = try Buffer<Float>(count: 1)
    count.base[0] = Float(steps)
    try SafetensorsWriter.write(
      ([(Self.stepsName, count)] + stateTensors).map { name, values in
        .init(parts: [.init(name: name, shape: [values.count])]) { values }
      }, to: path)
  }

  /// Reads what `write` wrote, for the same model with the same tensors trained.
  /// - Throws: `PETAR_ERROR_BAD_FILE` when it is of another model or other tensors were trained, `PETAR_ERROR_IO`.
  package func read(state path: String) throws {
    let file = try NamedTensors(file: path)
    var count: Float = 0
    try file.read(Self.stepsName, shape: [1], into: &count)
    for (name, values) in stateTensors { try file.read(name, shape: [values.count], into: values.base) }
    guard let count = Int(exactly: count), count >= 0 else {
      throw PetarError(PETAR_ERROR_BAD_FILE, "\(path): \(count) is no number of steps")
    }
    steps = count
  }

  /// In the order of the parameters; names of moments as in PyTorch's state.
  private var stateTensors: [(String, Buffer<Float>)] {
    parameters.tensors.flatMap { tensor in
      guard let moments = moments[tensor.name] else { return [(String, Buffer<Float>)]() }
      return [
        (tensor.name, tensor.values), ("\(tensor.name).exp_avg", moments.mean),
        ("\(tensor.name).exp_avg_sq", moments.square),
      ]
    }
  }
}
