import Petar

/// Linear layers from fused features to the decoder's width, with GELU between them in an MLP.
struct Projector {
  let layers: [LinearLayer]
  let activates: Bool

  /// What a forward pass leaves behind. Memory lies in the arena.
  struct Trace {
    let rows: Int
    let output: UnsafeMutablePointer<Float>
    /// Of each layer.
    fileprivate let inputs: [UnsafePointer<Float>]
    /// Of the activation after each layer but the last.
    fileprivate let slopes: [UnsafeMutablePointer<Float>]
  }

  init(_ parameters: Parameters) throws {
    let projector = parameters.description.projector
    layers = try (0..<projector.layers).map {
      try LinearLayer(parameters, weight: TensorName.projectorWeight($0), bias: TensorName.projectorBias($0))
    }
    activates = projector.kind == .mlp
  }

  var isTrained: Bool { layers.contains(where: \.isTrained) }

  func forward(_ x: UnsafePointer<Float>, rows: Int, _ engine: Engine) throws -> Trace {
    var inputs: [UnsafePointer<Float>] = []
    var slopes: [UnsafeMutablePointer<Float>] = []
    var current = x
    for (index, layer) in layers.enumerated() {
      let output = try engine.arena.floats(rows * layer.outputs)
      try layer.forward(current, engine.all(rows), into: output)
      inputs.append(current)
      current = UnsafePointer(output)
      if activates, index < layers.count - 1 {
        let activated = try engine.arena.floats(rows * layer.outputs)
        GELU.forward(output, engine.all(rows), width: layer.outputs, into: activated)
        slopes.append(output)
        current = UnsafePointer(activated)
      }
    }
    return Trace(rows: rows, output: UnsafeMutablePointer(mutating: current), inputs: inputs, slopes: slopes)
  }

  /// The slopes in `trace` are used up.
  /// - Parameter dx: gets the gradient of the inputs, if it is wanted.
  func backward(
    _ trace: Trace, gradient: UnsafePointer<Float>, into dx: UnsafeMutablePointer<Float>?, _ engine: Engine
  ) throws {
    try engine.arena.scoped {
      let all = engine.all(trace.rows)
      var gradient = gradient
      for (index, layer) in layers.enumerated().reversed() {
        try layer.addGradients(trace.inputs[index], gradient, rows: trace.rows, engine)
        guard index > 0 else {
          if let dx { try layer.backward(gradient, all, into: dx) }
          return
        }
        let below = try activates ? trace.slopes[index - 1] : engine.arena.floats(trace.rows * layer.inputs)
        try layer.backward(gradient, all, into: below, multiplies: activates)
        gradient = UnsafePointer(below)
      }
    }
  }
}
