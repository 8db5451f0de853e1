import Foundation
import Petar

let usage = """
  usage: petar-train bench [THREADS] [STEPS]

  bench  times training steps of a small model (13 million parameters, batch of 8, f32)

  """

do {
  let arguments = CommandLine.arguments.dropFirst()
  let numbers = arguments.dropFirst().map { Int($0) ?? 0 }
  guard arguments.first == "bench", numbers.count <= 2, numbers.allSatisfy({ $0 > 0 }) else {
    FileHandle.standardError.write(Data(usage.utf8))
    exit(2)
  }
  try bench(threads: numbers.first ?? ThreadPool.processors, steps: numbers.dropFirst().first ?? 10)
} catch {
  FileHandle.standardError.write(Data("petar-train: \(error)\n".utf8))
  exit(1)
}
