import Foundation

do {
  try bench()
} catch {
  FileHandle.standardError.write(Data("petar-train: \(error)\n".utf8))
  exit(1)
}
