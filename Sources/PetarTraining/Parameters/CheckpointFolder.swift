import CPetar
import Foundation
import Petar
import PetarConversion

extension Parameters {
  /// Writes a checkpoint folder in the Hugging Face layout: f32 weights under the checkpoint's names, with adapters
  /// merged into them, and the files of the folder `source` that are no weights (settings, tokenizer, licence).
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
        try copyFile("\(source)/\(name)", to: "\(partial)/\(name)")
      }
      try Self.writeConfig(from: source, to: partial)
      try writeWeights(to: "\(partial)/model.safetensors")
      try files.moveItem(atPath: partial, toPath: folder)
    } catch {
      try? files.removeItem(atPath: partial)
      throw error as? PetarError ?? PetarError(PETAR_ERROR_IO, "cannot write \(folder): \(error.localizedDescription)")
    }
  }

  private static func isSetting(_ name: String) -> Bool {
    !name.hasPrefix(".") && name != "config.json"
      && ![".safetensors", ".index.json", ".bin", ".pt", ".pth", ".ckpt"].contains { name.hasSuffix($0) }
  }

  /// Copies config.json, which must not give the type of the source's weights: these are f32.
  private static func writeConfig(from source: String, to folder: String) throws {
    let path = "\(source)/config.json"
    guard let bytes = FileManager.default.contents(atPath: path) else { return }
    let members = try JSONValue(parsing: [UInt8](bytes), source: path).members ?? []
    let config = members.map { name, value in
      (name, ["torch_dtype", "dtype"].contains(name) ? JSON.string("float32") : value.json)
    }
    try writeFile(Array((JSON.object(config).text + "\n").utf8), path: "\(folder)/config.json")
  }

  private func writeWeights(to path: String) throws {
    let stacks = tensors.filter { !Self.isAdapter($0.name) }.map { tensor in
      SafetensorsWriter.Stack(parts: tensor.parts) { try self.mergedValues(of: tensor) }
    }
    try SafetensorsWriter.write(stacks, to: path)
  }
}

/// Copies a file, or the one that a link leads to: in Hugging Face's cache all are links, which lead nowhere from
/// another folder. Folders are left out.
func copyFile(_ source: String, to target: String) throws {
  var isFolder: ObjCBool = false
  guard !FileManager.default.fileExists(atPath: source, isDirectory: &isFolder) || !isFolder.boolValue else { return }
  let file = URL(fileURLWithPath: source).resolvingSymlinksInPath().path
  try FileManager.default.copyItem(atPath: file, toPath: target)
}
