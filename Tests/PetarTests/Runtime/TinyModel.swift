import Petar
import PetarConversion

/// Opens a model of a few kilobytes of random weights.
func withTinyModel(_ weights: Encoding, context: Int = 512, _ body: (Model) throws -> Void) throws {
  try withTemporaryFolder { folder in
    var checkpoint = TestCheckpoint(.llama)
    checkpoint.config["max_position_embeddings"] = "\(context)"
    try checkpoint.write(to: "\(folder)/tiny")
    try convert(checkpoint: "\(folder)/tiny", output: "\(folder)/tiny.petar", weights: weights)
    try body(try Model(path: "\(folder)/tiny.petar"))
  }
}
