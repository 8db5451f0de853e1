/// The language model: Phi-3 and Llama both come down to these tensors (fused q|k|v and gate|up).
package struct DecoderWeights: Sendable {
  package struct Layer: Sendable {
    package let attentionNorm: Vector
    /// Rows q | k | v.
    package let qkv: Matrix
    package let out: Matrix
    package let ffnNorm: Vector
    /// Rows gate | up.
    package let gateUp: Matrix
    package let down: Matrix
  }

  /// (vocabulary, width)
  package let embedding: Matrix
  package let layers: [Layer]
  package let norm: Vector
  /// (vocabulary, width); the embedding itself when the checkpoint ties them.
  package let head: Matrix

  package init(_ file: PetarFile) throws {
    let shape = file.description.decoder
    let width = shape.width
    embedding = try file.matrix(TensorName.embedding, rows: shape.vocabulary, columns: width)
    layers = try (0..<shape.layers).map { layer in
      Layer(
        attentionNorm: try file.vector(TensorName.attentionNorm(layer), count: width),
        qkv: try file.matrix(
          TensorName.qkv(layer), rows: (shape.heads + 2 * shape.keyValueHeads) * shape.headWidth, columns: width),
        out: try file.matrix(TensorName.attentionOut(layer), rows: width, columns: shape.heads * shape.headWidth),
        ffnNorm: try file.vector(TensorName.ffnNorm(layer), count: width),
        gateUp: try file.matrix(TensorName.gateUp(layer), rows: 2 * shape.ffnWidth, columns: width),
        down: try file.matrix(TensorName.down(layer), rows: width, columns: shape.ffnWidth))
    }
    norm = try file.vector(TensorName.finalNorm, count: width)
    head =
      shape.tiedEmbeddings
      ? embedding : try file.matrix(TensorName.head, rows: shape.vocabulary, columns: width)
  }
}
