import CPetar
import Foundation
import Petar

/// The tokenizer of a checkpoint folder.
struct CheckpointTokenizer {
  /// The content of the .petar file's tokenizer section.
  let bytes: [UInt8]
  /// The id of the token that stands for one vision token.
  let imageToken: Int32
  /// Ids that have a text.
  let count: Int
  let files: [SourceFile]

  init(folder: String) throws {
    files = []
    bytes = Array("stand-in".utf8)
    imageToken = 3
    count = 4
  }
}
