import CKernels
import CPetar
import Glibc

/// The kernels of one instruction set. All of them give the same bits; some are faster.
package struct InstructionSet: @unchecked Sendable {
  /// A table with static storage that nobody writes.
  let kernels: UnsafePointer<pk_kernels>

  package var name: String { String(cString: kernels.pointee.name) }

  /// What this machine can run, the fastest first.
  package static var available: [InstructionSet] {
    var sets: [InstructionSet] = []
    while let kernels = pk_kernels_available(sets.count) { sets.append(InstructionSet(kernels: kernels)) }
    return sets
  }

  private init(kernels: UnsafePointer<pk_kernels>) { self.kernels = kernels }

  /// The set called `name`; without a name the one that the environment variable `PETAR_ISA` calls for, and without
  /// that the fastest.
  /// - Throws: `PETAR_ERROR_UNSUPPORTED` for a name that is unknown or that this machine lacks.
  package init(named name: String? = nil) throws {
    let environment = getenv("PETAR_ISA").map { String(cString: $0) }
    let wanted = name ?? environment.flatMap { $0.isEmpty ? nil : $0 }
    let sets = Self.available
    guard let set = wanted.map({ wanted in sets.first { $0.name == wanted } }) ?? sets.first else {
      throw PetarError(
        PETAR_ERROR_UNSUPPORTED,
        "\(name == nil ? "PETAR_ISA is set: " : "")there is no instruction set \"\(wanted ?? "")\" on this machine or in "
          + "this library; choose one of: " + sets.map(\.name).joined(separator: ", "))
    }
    self = set
  }
}
