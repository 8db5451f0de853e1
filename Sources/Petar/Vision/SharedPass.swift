import Glibc

/// The CT tower's tokens of a whole view, for the next lesion of the exam. The CT knows nothing of the lesion, so those
/// at one height of the body have this pass in common, and in a scan of up to 24 cm all of them. Tokens are the same
/// bits with and without it.
final class SharedPass {
  private var image: Buffer<Float>?
  private var tokens: Buffer<Float>?

  /// What was kept, if it was of these very voxels.
  func tokens(of image: Buffer<Float>) -> UnsafePointer<Float>? {
    guard let known = self.image, let tokens, known.count == image.count,
      memcmp(known.base, image.base, image.count * MemoryLayout<Float>.stride) == 0
    else { return nil }
    return UnsafePointer(tokens.base)
  }

  /// Takes the place of what was kept.
  /// - Throws: `PETAR_ERROR_OUT_OF_MEMORY`.
  func keep(_ tokens: UnsafePointer<Float>, count: Int, of image: Buffer<Float>) throws {
    self.image = nil
    if self.tokens?.count != count { self.tokens = try Buffer(count: count) }
    self.tokens?.base.update(from: tokens, count: count)
    self.image = image
  }
}
