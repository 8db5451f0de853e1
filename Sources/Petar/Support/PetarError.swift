import CPetar

/// Why a call failed: the status the C interface returns and the sentence that goes with it.
///
/// The sentence says what is wrong, where, and what to do about it.
package struct PetarError: Error {
  package let status: petar_status
  package let message: String

  package init(_ status: petar_status, _ message: String) {
    self.status = status
    self.message = message
  }
}

extension PetarError: CustomStringConvertible {
  package var description: String { message }
}

/// Any error as one that has a status.
package func asPetarError(_ error: any Error) -> PetarError {
  error as? PetarError ?? PetarError(PETAR_ERROR_INTERNAL, "unexpected error: \(error)")
}
