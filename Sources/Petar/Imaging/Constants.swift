/// The numbers of the released PETAR-4B preprocessing that no checkpoint carries.
enum Released {
  /// Edge of a voxel of the model's grid, in millimetres.
  static let spacing = 3.0
  /// The head crop looks for the top of the body in columns [middle - left, middle + right) of the PET.
  static let headWindowX = (before: 50, after: 50)
  static let headWindowY = (before: 150, after: 50)
  /// Above these a slice still belongs to the body: SUV, or HU where no PET voxel does.
  static let headSUV = 5.0
  static let headHU = 1000.0
  /// Side of the canvas in x and y, in voxels of the model's grid.
  static let canvasSide = 200
  /// Slices kept, counted from the top.
  static let canvasDepth = 350
  /// What x and y are filled up with.
  static let petPadding: Float = 0
  static let ctPadding: Float = -1000
  /// Slices of the global view on either side of the lesion's middle one.
  static let globalReach = 80
  /// Voxels the focal view reaches beyond the lesion.
  static let focalMargin = 20
}

/// Where this library draws lines of its own.
enum Limits {
  /// Grids whose corners agree to this (millimetres) are one grid, and nothing is resampled.
  static let sameGrid = 1e-3
  /// Largest SUV and mean positive SUV that are taken for SUV; Bq/mL lies in the thousands.
  static let largestSUV = 2000.0
  static let largestMeanSUV = 50.0
  /// Most voxels of the 3 mm grid, where a whole body has 25 million, and most along an axis (12 m).
  static let gridVoxels = 1 << 28
  static let gridExtent = 1 << 12
  /// A lesion that fills more of the volume than this is probably not one (they fill 0.01 to 2 %).
  static let usualShare = 0.1
  /// A PET below this, or a CT without anything below that, is remarkable.
  static let negativeSUV = -1.0
  static let airHU = -200.0
}
