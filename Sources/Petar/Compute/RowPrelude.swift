import CKernels

/// What happens to a row on its way into a linear layer, in the cache that it is quantized from: it takes no pass over
/// memory of its own, which in a prefill of 290 positions is 19 MB for each gate.
package enum RowPrelude {
  case layerNorm(LayerNormalization)
  /// As `Compute.rmsNorm`.
  case rmsNorm(weight: UnsafePointer<Float>, epsilon: Float)
  /// Rows are `gate | up`, twice as wide as the layer's; as `Compute.siluGate`.
  case siluGate

  /// Floats of a row that becomes one of `width`.
  package func inputWidth(_ width: Int) -> Int {
    if case .siluGate = self { 2 * width } else { width }
  }

  /// Makes the row at `x` one of `width` floats at `y`.
  package func apply(
    _ kernels: pk_kernels, _ x: UnsafePointer<Float>, width: Int, into y: UnsafeMutablePointer<Float>
  ) {
    switch self {
    case .layerNorm(let norm): kernels.layer_norm(x, width, norm.weight, norm.bias, norm.epsilon, y)
    case .rmsNorm(let weight, let epsilon): kernels.rms_norm(x, width, weight, epsilon, y)
    case .siluGate: kernels.silu_gate(x, width, y)
    }
  }
}
