import Petar

extension Parameters {
  /// The values of a model that starts from nothing: normal with deviation 0.02 (MONAI's and transformers' default) for
  /// matrices and positions, one for the weights of norms, zero for biases, the class token and the mask's embedding.
  ///
  /// The numbers depend on the seed and on a tensor's place in the model. Adapters are left alone.
  package func initialize(seed: UInt64) {
    var random = SplitMix64(seed: seed)
    for tensor in tensors where !Self.isAdapter(tensor.name) {
      let isVector = tensor.parts.allSatisfy { $0.shape.count == 1 }
      if tensor.name == TensorName.classToken || tensor.name.hasPrefix("vision.mask.")
        || isVector && tensor.name.hasSuffix(".bias")
      {
        tensor.values.elements.update(repeating: 0)
      } else if isVector {
        tensor.values.elements.update(repeating: 1)
      } else {
        for index in 0..<tensor.values.count { tensor.values.base[index] = 0.02 * random.normal() }
      }
    }
  }
}
