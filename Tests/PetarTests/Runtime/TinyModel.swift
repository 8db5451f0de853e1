import Foundation
import Petar
import PetarConversion

/// A model of a few kilobytes of random weights. Its file is gone by the time the caller has it: the mapping stays.
func tinyModel(
  _ weights: Encoding, context: Int = 512, change: (inout TestCheckpoint) -> Void = { _ in }
) throws -> Model {
  try withTemporaryFolder { folder in
    var checkpoint = TestCheckpoint(.llama)
    checkpoint.config["max_position_embeddings"] = "\(context)"
    change(&checkpoint)
    try checkpoint.write(to: "\(folder)/tiny")
    try convert(checkpoint: "\(folder)/tiny", output: "\(folder)/tiny.petar", weights: weights)
    return try Model(path: "\(folder)/tiny.petar")
  }
}

/// The file of a tiny model that says other things of itself than its checkpoint did.
func writeTinyModel(_ weights: Encoding, to path: String, change: (inout ModelDescription) -> Void) throws {
  let file = try tinyModel(weights).file
  let writer = try PetarFileWriter(path: path, tensors: file.entries)
  for (index, entry) in file.entries.enumerated() {
    var tensor = writer.tensor(index)
    switch entry.form {
    case .vector(let count):
      try tensor.append(UnsafeRawBufferPointer(file.vector(entry.name, count: count).elements))
    case .matrix(let layout):
      let matrix = try file.matrix(entry.name, rows: layout.rows, columns: layout.columns)
      try tensor.append(UnsafeRawBufferPointer(start: matrix.bytes, count: entry.byteCount))
    }
    try tensor.finish()
  }
  var description = file.description
  change(&description)
  let tokenizer = try file.tokenizerBytes.withUnsafeBytes { bytes in
    var reader = ByteReader(bytes, source: path)
    return try TokenizerDefinition(from: &reader)
  }
  try writer.finish(description: description, tokenizer: tokenizer)
}
