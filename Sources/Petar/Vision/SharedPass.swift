import Glibc

/// The CT tower's tokens of a whole view, for the next lesion of the exam. The CT knows nothing of the lesion, so those
/// at one height of the body have this pass in common, and in a scan of up to 24 cm all of them. Tokens are the same
/// bits with and without it.
final class SharedPass {
  private var kept: (image: Buffer<Float>, tokens: Buffer<Float>)?

  /// What was kept, if it was of these very voxels.
  func tokens(of image: Buffer<Float>) -> UnsafePointer<Float>? {
    guard let kept, kept.image.count == image.count,
      memcmp(kept.image.base, image.base, image.count * MemoryLayout<Float>.stride) == 0
    else { return nil }
    return UnsafePointer(kept.tokens.base)
  }

  /// Takes the place of what was kept.
  /// - Throws: `PETAR_ERROR_OUT_OF_MEMORY`.
  func keep(_ tokens: UnsafePointer<Float>, count: Int, of image: Buffer<Float>) throws {
    let copy = try Buffer<Float>(count: count)
    copy.base.update(from: tokens, count: count)
    kept = (image, copy)
  }
}
