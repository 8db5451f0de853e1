import CPetar
import Foundation
import Petar
import PetarConversion

extension Parameters {
  /// Writes a checkpoint folder in the Hugging Face layout: f32 weights under the checkpoint's names, with adapters
  /// merged into them, and everything but the weights of the folder `source` (settings, tokenizer, licence).
  ///
  /// The folder appears complete or not at all.
  /// - Throws: `PETAR_ERROR_IO` with the system's reason, also when there is something at `folder` already.
  package func write(checkpoint folder: String, settingsFrom source: String) throws {
    let files = FileManager.default
    guard !files.fileExists(atPath: folder) else {
      throw PetarError(PETAR_ERROR_IO, "cannot write \(folder): it is there already; choose another name")
    }
    let partial = folder + ".partial"
    do {
      if files.fileExists(atPath: partial) { try files.removeItem(atPath: partial) }
      try files.createDirectory(atPath: partial, withIntermediateDirectories: true)
      for name in try files.contentsOfDirectory(atPath: source) where Self.isSetting(name) {
        try files.copyItem(atPath: "\(source)/\(name)", toPath: "\(partial)/\(name)")
      }
      try writeWeights(to: "\(partial)/model.safetensors")
      try files.moveItem(atPath: partial, toPath: folder)
    } catch {
      try? files.removeItem(atPath: partial)
      throw error as? PetarError ?? PetarError(PETAR_ERROR_IO, "cannot write \(folder): \(error.localizedDescription)")
    }
  }

  private static func isSetting(_ name: String) -> Bool {
    !name.hasPrefix(".")
      && ![".safetensors", ".index.json", ".bin", ".pt", ".pth", ".ckpt"].contains { name.hasSuffix($0) }
  }

  private func writeWeights(to path: String) throws {
    let stacks = tensors.filter { !Self.isAdapter($0.name) }.map { tensor in
      SafetensorsWriter.Stack(parts: tensor.parts) { try self.mergedValues(of: tensor) }
    }
    try SafetensorsWriter.write(stacks, to: path)
  }
}
