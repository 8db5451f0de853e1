import Petar

extension Parameters {
  /// The values of a model that starts from nothing: normal, for matrices with a deviation of 1 / sqrt(inputs) (LeCun et
  /// al. 1998), for the embedding of tokens 0.02 (transformers' default), for positions 1; one for the weights of norms,
  /// zero for biases, the class token and the mask's embedding.
  ///
  /// The default of 0.02 for matrices, too, fits layers a thousand wide. In one of 128 it makes what an image changes so
  /// faint that the decoder takes no notice of it. Positions of 0.02 (MONAI's default) drown in the voxels of a patch:
  /// attention then finds the middle of a view late.
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
        let deviation: Float =
          if tensor.name == TensorName.embedding {
            0.02
          } else if tensor.name.hasSuffix(".position") {
            1
          } else {
            1 / Float(tensor.columns).squareRoot()
          }
        for index in 0..<tensor.values.count { tensor.values.base[index] = deviation * random.normal() }
      }
    }
  }
}
