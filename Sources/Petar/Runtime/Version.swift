import CPetar
import CZlib
import CZstd

/// What this build of the library is.
package enum Library {
  package static let version: StaticString = "0.1.0"

  package static var description: JSON {
    .object([
      ("version", .string("\(version)")),
      ("abi", .integer(Int(PETAR_ABI_VERSION))),
      ("instruction_sets", .array(InstructionSet.available.map { .string($0.name) })),
      ("default_instruction_set", .string(InstructionSet.available.first?.name ?? "")),
      ("zlib", .string(String(cString: zlibVersion()))),
      ("zstd", .string(String(cString: ZSTD_versionString()))),
    ])
  }
}
