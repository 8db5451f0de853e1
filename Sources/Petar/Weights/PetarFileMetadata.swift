// What a .petar file says of itself, as JSON: petar_model_metadata and `petar-convert inspect --json`.

extension PetarFile {
  package var metadata: JSON {
    var members: [(String, JSON)] = [
      ("name", .string(description.name)),
      ("hash", .string(hash)),
      ("format_version", .integer(Int(PetarFileHeader.version))),
      ("bytes", .integer(byteCount)),
      ("weights_type", .string(weightsType)),
      ("parameters", .integer(parameterCount)),
    ]
    members += description.jsonMembers
    return .object(members)
  }
}

extension ModelDescription {
  /// views, vision, projector, decoder, prompt and generation, provenance: lengths in voxels, extents as [z, y, x].
  package var jsonMembers: [(String, JSON)] {
    [
      (
        "views",
        .object([
          ("shape", views.extent.json),
          ("pet_window_suv", .numbers([views.petWindow.lowerBound, views.petWindow.upperBound])),
          ("ct_window_hu", .numbers([views.ctWindow.lowerBound, views.ctWindow.upperBound])),
        ])
      ),
      (
        "vision",
        .object([
          ("patch", vision.patch.json), ("tokens", tokenGrid.json), ("pool", vision.pool.json),
          ("vision_tokens", .integer(visionTokens)), ("width", .integer(vision.width)),
          ("layers", .integer(vision.layers)), ("head_width", .integer(vision.headWidth)),
          ("mlp_width", .integer(vision.mlpWidth)), ("shared_tower", .bool(vision.sharedTower)),
          ("qkv_bias", .bool(vision.qkvBias)), ("norm_epsilon", decimal(vision.normEpsilon)),
        ])
      ),
      (
        "projector",
        .object([
          ("kind", .string(projector.kind == .mlp ? "mlp" : "linear")), ("layers", .integer(projector.layers)),
        ])
      ),
      (
        "decoder",
        .object([
          ("family", .string(decoder.family)), ("vocabulary", .integer(decoder.vocabulary)),
          ("width", .integer(decoder.width)), ("layers", .integer(decoder.layers)), ("heads", .integer(decoder.heads)),
          ("key_value_heads", .integer(decoder.keyValueHeads)), ("head_width", .integer(decoder.headWidth)),
          ("ffn_width", .integer(decoder.ffnWidth)), ("norm_epsilon", decimal(decoder.normEpsilon)),
          ("rope_theta", .number(decoder.ropeTheta)), ("sliding_window", .integer(decoder.slidingWindow)),
          ("context", .integer(decoder.context)), ("tied_embeddings", .bool(decoder.tiedEmbeddings)),
        ])
      ),
      (
        "prompt",
        .object([("image_token", .integer(Int(prompt.imageToken))), ("question", .string(prompt.question))])
      ),
      (
        "generation",
        .object([
          ("max_tokens", .integer(prompt.maxTokens)), ("end_of_text", .integers(prompt.endOfText.map { Int($0) })),
        ])
      ),
      (
        "provenance",
        .object([
          ("source", .string(provenance.source)), ("source_hash", .string(provenance.sourceHash)),
          ("tool", .string(provenance.tool)), ("licence", .string(provenance.licence)),
          ("intended_use", .string(provenance.intendedUse)), ("random_weights", .bool(provenance.randomWeights)),
        ])
      ),
    ]
  }

  /// The shortest decimal that is this f32, not the double behind it (1e-05, not 9.99999974737875e-06).
  private func decimal(_ value: Float) -> JSON { .number(Double("\(value)") ?? Double(value)) }
}

extension ModelDescription.Extent {
  fileprivate var json: JSON { .integers([depth, height, width]) }
}

extension PetarFileEntry {
  /// name, kind, shape, offset, bytes, checksum.
  package var json: JSON {
    var members: [(String, JSON)] = [("name", .string(name))]
    switch form {
    case .matrix(let layout):
      members += [
        ("kind", .string("matrix")), ("encoding", .string("\(layout.encoding)")),
        ("shape", .integers([layout.rows, layout.columns])), ("group_size", .integer(layout.groupSize)),
      ]
    case .vector(let count):
      members += [("kind", .string("vector")), ("encoding", .string("f32")), ("shape", .integers([count]))]
    }
    members += [
      ("offset", .integer(offset)), ("bytes", .integer(byteCount)), ("sha256", .string(hexadecimal(sha256))),
    ]
    return .object(members)
  }
}
