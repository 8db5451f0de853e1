/// The four tracers of PETARSeg-11K.
package enum Tracer: String, CaseIterable, Sendable {
  case fdg = "FDG"
  case dotatate = "DOTATATE"
  case fluciclovine = "fluciclovine"
  case dcfpyl = "DCFPyL"

  /// What the uptake of a lesion is compared with: the liver, but for fluciclovine, which the liver takes up
  /// strongly, the bone marrow.
  var reference: Tissue { self == .fluciclovine ? .marrow : .liver }

  /// Injected for cancers that only men have.
  var malesOnly: Bool { self == .fluciclovine || self == .dcfpyl }
}

/// What a part of the body is made of: how dense it is on CT and how much of each tracer it takes up.
enum Tissue: Int, CaseIterable, Sendable {
  case air, skin, fat, muscle, lung, lungVessel, blood, myocardium, cartilage, cortex, marrow, diploe, disc, cord
  case liver, bile, spleen, kidney, urine, urineTract, adrenal, pancreas, stomach, stomachFluid, gas, duodenum
  case smallBowel, colon, stool, esophagus, airwayWall, thyroid, prostate, uterus, gland, testis
  case greyMatter, whiteMatter, cerebellum, deepGrey, csf, pituitary, salivary, lacrimal, mucosa, eye, table

  /// Mean SUV for FDG, DOTATATE, fluciclovine and DCFPyL, spread over patients as a standard deviation of its
  /// logarithm, and HU without contrast and in the portal venous phase.
  private var row: (suv: (Float, Float, Float, Float), spread: Float, hu: (Float, Float)) {
    switch self {
    case .air: ((0, 0, 0, 0), 0, (-1000, -1000))
    case .skin: ((0.6, 0.5, 0.7, 0.5), 0.1, (0, 5))
    case .fat: ((0.28, 0.22, 0.35, 0.25), 0.15, (-102, -100))
    case .muscle: ((0.7, 0.75, 1.2, 0.6), 0.12, (55, 63))
    case .lung: ((0.45, 0.4, 0.5, 0.4), 0.15, (-835, -830))
    case .lungVessel: ((1.0, 0.8, 1.0, 0.9), 0.1, (10, 60))
    case .blood: ((1.7, 1.2, 1.6, 1.5), 0.12, (42, 155))
    case .myocardium: ((3.6, 1.5, 2.0, 1.7), 0.55, (48, 105))
    case .cartilage: ((0.6, 0.6, 0.8, 0.5), 0.1, (110, 115))
    case .cortex: ((0.8, 0.6, 1.2, 0.5), 0.1, (620, 630))
    case .marrow: ((1.4, 1.1, 3.4, 0.9), 0.16, (160, 175))
    case .diploe: ((0.9, 0.6, 1.5, 0.5), 0.12, (380, 385))
    case .disc: ((0.8, 0.7, 1.2, 0.6), 0.1, (80, 82))
    case .cord: ((1.7, 0.6, 0.6, 0.5), 0.1, (30, 32))
    case .liver: ((2.4, 6.5, 9.5, 6.0), 0.16, (58, 108))
    case .bile: ((0.9, 1.8, 2.2, 7.0), 0.35, (8, 8))
    case .spleen: ((2.0, 22, 3.2, 5.0), 0.22, (50, 112))
    case .kidney: ((2.8, 15, 4.5, 30), 0.2, (33, 165))
    case .urine: ((18, 20, 2.4, 28), 0.45, (6, 8))
    case .urineTract: ((9, 10, 2.2, 16), 0.4, (8, 10))
    case .adrenal: ((1.9, 9, 4.0, 2.0), 0.2, (30, 70))
    case .pancreas: ((1.8, 3.6, 11, 2.2), 0.2, (40, 90))
    case .stomach: ((2.2, 4.0, 3.4, 3.0), 0.25, (42, 80))
    case .stomachFluid: ((0.6, 0.6, 0.7, 0.6), 0.2, (18, 22))
    case .gas: ((0.3, 0.2, 0.3, 0.2), 0.1, (-900, -900))
    case .duodenum: ((2.0, 5.0, 4.0, 11), 0.25, (35, 70))
    case .smallBowel: ((1.6, 3.2, 2.6, 5.5), 0.25, (32, 62))
    case .colon: ((1.9, 2.2, 1.9, 1.7), 0.3, (38, 72))
    case .stool: ((1.0, 1.0, 1.0, 0.9), 0.2, (-40, -30))
    case .esophagus: ((1.9, 1.5, 1.9, 1.4), 0.15, (38, 55))
    case .airwayWall: ((1.2, 1.0, 1.1, 0.9), 0.1, (25, 35))
    case .thyroid: ((1.4, 4.2, 2.2, 1.4), 0.3, (95, 150))
    case .prostate: ((2.1, 2.2, 2.8, 2.8), 0.2, (42, 72))
    case .uterus: ((2.1, 2.0, 2.0, 1.6), 0.3, (45, 95))
    case .gland: ((0.9, 0.8, 1.0, 0.7), 0.2, (20, 30))
    case .testis: ((3.0, 1.5, 2.0, 1.2), 0.2, (40, 50))
    case .greyMatter: ((11.5, 0.15, 0.4, 0.15), 0.16, (38, 42))
    case .whiteMatter: ((4.2, 0.15, 0.35, 0.15), 0.12, (28, 32))
    case .cerebellum: ((8.5, 0.15, 0.4, 0.15), 0.15, (36, 40))
    case .deepGrey: ((11.5, 0.15, 0.4, 0.15), 0.12, (40, 44))
    case .csf: ((1.5, 0.15, 0.3, 0.15), 0.1, (8, 8))
    case .pituitary: ((3.5, 9, 4.5, 2.0), 0.25, (50, 80))
    case .salivary: ((2.1, 2.8, 3.4, 16), 0.25, (30, 60))
    case .lacrimal: ((1.8, 1.6, 2.0, 8), 0.25, (35, 50))
    case .mucosa: ((2.6, 1.6, 1.8, 2.6), 0.25, (35, 60))
    case .eye: ((1.0, 0.4, 0.5, 0.4), 0.1, (12, 12))
    case .table: ((0, 0, 0, 0), 0, (-60, -60))
    }
  }

  func suv(_ tracer: Tracer) -> Float {
    switch tracer {
    case .fdg: row.suv.0
    case .dotatate: row.suv.1
    case .fluciclovine: row.suv.2
    case .dcfpyl: row.suv.3
    }
  }

  var spread: Float { row.spread }
  func hu(enhanced: Bool) -> Float { enhanced ? row.hu.1 : row.hu.0 }
}
