// What a .petar file says of itself, as JSON: petar_model_metadata and `petar-convert inspect --json`.

extension PetarFile {
  package var metadata: JSON {
    var members: [(String, JSON)] = [
      ("name", .string(description.name)),
      ("hash", .string(hash)),
      ("format_version", .integer(Int(PetarFileHeader.version))),
      ("file_bytes", .integer(byteCount)),
      ("weights", .string(weightsType)),
      ("parameters", .integer(parameterCount)),
    ]
    members += description.jsonMembers
    return .object(members)
  }
}

extension ModelDescription {
  /// views, vision, projector, decoder, prompt with generation defaults, provenance. Extents are [z, y, x] in voxels.
  fileprivate var jsonMembers: [(String, JSON)] {
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
          ("layout", .string(vision.sharedTower ? "shared tower" : "two towers")), ("patch", vision.patch.json),
          ("pool", vision.pool.json), ("width", .integer(vision.width)), ("layers", .integer(vision.layers)),
          ("heads", .integer(visionHeads)), ("mlp_width", .integer(vision.mlpWidth)),
          ("qkv_bias", .bool(vision.qkvBias)), ("norm_epsilon", decimal(vision.normEpsilon)),
          ("tokens", .integer(visionTokens)),
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
        .object([
          ("question", .string(prompt.question)), ("image_token", .integer(Int(prompt.imageToken))),
          ("max_tokens", .integer(prompt.maxTokens)), ("end_of_text", .integers(prompt.endOfText.map { Int($0) })),
          ("typical_findings", .integer(prompt.typicalFindings.count)),
        ])
      ),
      ("provenance", provenance.json),
    ]
  }

  /// The shortest decimal that is this f32, not the double behind it (1e-05, not 9.99999974737875e-06).
  private func decimal(_ value: Float) -> JSON { .number(Double("\(value)") ?? Double(value)) }
}

extension ModelDescription.Provenance {
  package var json: JSON {
    .object([
      ("source", .string(source)), ("source_hash", .string(sourceHash)), ("tool", .string(tool)),
      ("licence", .string(licence)), ("intended_use", .string(intendedUse)), ("random_weights", .bool(randomWeights)),
    ])
  }
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
        ("rotation", .integer(layout.rotation)),
      ]
    case .vector(let count):
      members += [("kind", .string("vector")), ("encoding", .string("f32")), ("shape", .integers([count]))]
    }
    members += [
      ("offset", .integer(offset)), ("file_bytes", .integer(byteCount)), ("sha256", .string(hexadecimal(sha256))),
    ]
    return .object(members)
  }
}
