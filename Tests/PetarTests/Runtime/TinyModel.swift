import Petar
import PetarConversion

/// A model of a few kilobytes of random weights. Its file is gone by the time the caller has it: the mapping stays.
func tinyModel(_ weights: Encoding, context: Int = 512) throws -> Model {
  try withTemporaryFolder { folder in
    var checkpoint = TestCheckpoint(.llama)
    checkpoint.config["max_position_embeddings"] = "\(context)"
    try checkpoint.write(to: "\(folder)/tiny")
    try convert(checkpoint: "\(folder)/tiny", output: "\(folder)/tiny.petar", weights: weights)
    return try Model(path: "\(folder)/tiny.petar")
  }
}
