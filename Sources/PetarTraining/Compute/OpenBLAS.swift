import COpenBLAS
import CTraining

/// The library of matrix products, as training uses it.
package enum OpenBLAS {
  /// The processor whose kernels are used, as OpenBLAS calls it.
  package static var core: String {
    prepare()
    return String(cString: openblas_get_corename())
  }

  /// Kernels for what this processor can do, on the calling thread alone. To be called before the first product.
  static func prepare() { prepared }

  private static let prepared: Void = {
    ct_choose_openblas_kernels()
    openblas_set_num_threads(1)
  }()
}
