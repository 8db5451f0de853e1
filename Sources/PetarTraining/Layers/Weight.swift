import Petar

/// A tensor as a layer uses it. `Parameters` owns the memory.
struct Weight {
  let values: UnsafeMutablePointer<Float>
  /// nil while it is frozen.
  let gradient: UnsafeMutablePointer<Float>?
  let rows: Int
  let columns: Int

  var isTrained: Bool { gradient != nil }

  init(_ parameters: Parameters, _ name: String) throws {
    let tensor = try parameters.tensor(name)
    values = tensor.values.base
    gradient = tensor.gradient?.base
    rows = tensor.rows
    columns = tensor.columns
  }
}
