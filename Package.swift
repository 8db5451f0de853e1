// swift-tools-version: 6.3
import PackageDescription

// ---- Settings ---------------------------------------------------------------------------------------------------

let strict: [SwiftSetting] = [.treatAllWarnings(as: .error)]

// ---- The package ------------------------------------------------------------------------------------------------

let package = Package(
  name: "petar",
  products: [
    .library(name: "petar", type: .dynamic, targets: ["Petar"]),
    .executable(name: "petar-describe", targets: ["petar-describe"]),
    .executable(name: "petar-convert", targets: ["petar-convert"]),
    .executable(name: "petar-bench", targets: ["petar-bench"]),
    .executable(name: "petar-train", targets: ["petar-train"]),
  ],
  targets: [
    // The contract and the C pieces.
    .target(name: "CPetar"),
    .target(
      name: "CKernels",
      cSettings: [.unsafeFlags(["-O3", "-std=c11", "-Wall", "-Wextra", "-Werror", "-ffp-contract=off"])]),
    .systemLibrary(name: "CZlib"),
    .systemLibrary(name: "CZstd"),

    // The library. No Foundation here: it would add more than the library itself.
    .target(
      name: "Petar", dependencies: ["CPetar", "CKernels", "CZlib", "CZstd"], exclude: ["ABI/petar.map"],
      swiftSettings: strict),

    // Training, and the phantoms to train on.
    .systemLibrary(name: "COpenBLAS"),
    .target(
      name: "CTraining", cSettings: [.unsafeFlags(["-O3", "-std=c11", "-Wall", "-Wextra", "-Werror"])]),
    .target(
      name: "PetarTraining",
      dependencies: ["Petar", "PetarConversion", "CPetar", "CKernels", "CTraining", "COpenBLAS", "CZlib"],
      swiftSettings: strict),

    // The tools.
    .target(name: "PetarConsole", dependencies: ["Petar", "CPetar"], swiftSettings: strict),
    .target(name: "PetarConversion", dependencies: ["Petar", "CPetar", "CKernels"], swiftSettings: strict),
    .executableTarget(name: "petar-convert", dependencies: ["PetarConsole", "PetarConversion"], swiftSettings: strict),
    .executableTarget(name: "petar-train", dependencies: ["PetarConsole", "PetarTraining"], swiftSettings: strict),
    .executableTarget(
      name: "petar-describe", dependencies: ["PetarConsole", "Petar", "CPetar"], swiftSettings: strict),

    // What the machine can do, and what the library makes of it.
    .target(
      name: "CProbes", dependencies: ["CKernels"],
      cSettings: [.unsafeFlags(["-O3", "-std=c11", "-Wall", "-Wextra", "-Werror"])]),
    .executableTarget(
      name: "petar-bench", dependencies: ["PetarConsole", "Petar", "CPetar", "CProbes"], swiftSettings: strict),

    .testTarget(
      name: "PetarTests",
      dependencies: ["Petar", "PetarConsole", "PetarConversion", "PetarTraining", "CPetar", "CKernels", "CZlib"]),
  ],
  swiftLanguageModes: [.v6]
)
