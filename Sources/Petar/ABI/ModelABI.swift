import CPetar

@c @implementation
public func petar_model_params_init(_ params: UnsafeMutablePointer<petar_model_params>?, _ structSize: Int) {
  initialize(params, structSize, petar_model_params())
}

@c @implementation
public func petar_model_open(
  _ path: UnsafePointer<CChar>?, _ params: UnsafePointer<petar_model_params>?,
  _ model: UnsafeMutablePointer<OpaquePointer?>?
) -> petar_status {
  status {
    let model = try require(model, "model")
    model.pointee = nil
    let params =
      try params.map { try read($0, over: petar_model_params(), first: 40, "params") } ?? petar_model_params()
    let opened = try Model(
      path: try text(try require(path, "path"), "path"), isa: try params.isa.map { try text($0, "isa") },
      verify: params.verify != 0)
    if let log = params.log, opened.description.provenance.randomWeights {
      "the weights of this model are random".withCString { log(params.log_user_data, 1, $0) }
    }
    model.pointee = hand(opened)
  }
}

@c @implementation
public func petar_model_free(_ model: OpaquePointer?) { release(model, as: Model.self) }

@c @implementation
public func petar_model_get_info(
  _ model: OpaquePointer?, _ info: UnsafeMutablePointer<petar_model_info>?
) -> petar_status {
  status {
    let model = try object(model, as: Model.self, "model")
    let info = try require(info, "info")
    let size = UnsafeRawPointer(info).loadUnaligned(as: Int.self)
    guard size >= MemoryLayout<Int>.size, size <= 1 << 16 else {
      throw invalid("info->struct_size is \(UInt(bitPattern: size)); set it to sizeof(*info)")
    }
    let description = model.description
    var filled = petar_model_info()
    filled.view_shape = (
      Int64(description.views.extent.depth), Int64(description.views.extent.height),
      Int64(description.views.extent.width)
    )
    filled.vision_tokens = Int64(description.visionTokens)
    filled.hidden_size = Int64(description.decoder.width)
    filled.vocabulary_size = Int64(description.decoder.vocabulary)
    filled.context_size = Int64(description.decoder.context)
    filled.parameter_count = Int64(model.file.parameterCount)
    initialize(info, size, filled)
  }
}

@c @implementation
public func petar_model_metadata(
  _ model: OpaquePointer?, _ buffer: UnsafeMutablePointer<CChar>?, _ size: UnsafeMutablePointer<Int>?
) -> petar_status {
  status { try handOut(try object(model, as: Model.self, "model").file.metadata.text, buffer, size) }
}

@c @implementation
public func petar_tokenize(
  _ model: OpaquePointer?, _ string: UnsafePointer<CChar>?, _ addBOS: Int32, _ ids: UnsafeMutablePointer<Int32>?,
  _ count: UnsafeMutablePointer<Int>?
) -> petar_status {
  status {
    let model = try object(model, as: Model.self, "model")
    let string = try text(try require(string, "text"), "text")
    try Tokenizer.checkLength(string.utf8.count)
    try handOut(model.tokenizer.encode(string, addBOS: addBOS != 0), ids, count)
  }
}

@c @implementation
public func petar_detokenize(
  _ model: OpaquePointer?, _ ids: UnsafePointer<Int32>?, _ count: Int, _ keepSpecial: Int32,
  _ buffer: UnsafeMutablePointer<CChar>?, _ size: UnsafeMutablePointer<Int>?
) -> petar_status {
  status {
    let model = try object(model, as: Model.self, "model")
    let ids = try array(ids, count, "ids")
    try handOut(try model.tokenizer.decode(ids, keepSpecial: keepSpecial != 0), buffer, size)
  }
}

@c @implementation
public func petar_model_prompt(
  _ model: OpaquePointer?, _ question: UnsafePointer<CChar>?, _ ids: UnsafeMutablePointer<Int32>?,
  _ count: UnsafeMutablePointer<Int>?
) -> petar_status {
  status {
    let model = try object(model, as: Model.self, "model")
    try handOut(try model.prompt(question: try question.map { try text($0, "question") }), ids, count)
  }
}

/// The caller's ids. More than a model's context could ever hold is a mistake, not a request.
func array(_ ids: UnsafePointer<Int32>?, _ count: Int, _ name: StaticString) throws -> [Int32] {
  if count == 0 { return [] }
  let ids = try require(ids, name)
  guard count > 0, count <= 1 << 22 else { throw invalid("\(UInt(bitPattern: count)) \(name) are more than 4194304") }
  return Array(UnsafeBufferPointer(start: ids, count: count))
}
