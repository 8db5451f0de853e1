import CPetar
import Petar

/// A lesion, what is asked and what is to be answered.
package struct TrainingExample: Sendable {
  /// PET, mask and CT of one view, each of the model's view extent (z, y, x; x fastest), as `Views.Arrays` holds them.
  package struct View: Sendable {
    package let pet: Buffer<Float>
    package let mask: Buffer<Float>
    package let ct: Buffer<Float>

    package init(pet: Buffer<Float>, mask: Buffer<Float>, ct: Buffer<Float>) {
      self.pet = pet
      self.mask = mask
      self.ct = ct
    }

    var arrays: [Buffer<Float>] { [pet, mask, ct] }
  }

  package let global: View
  package let focal: View
  /// Prompt and answer: begin of text, one image token for each vision token, question, answer, end of text.
  package let ids: [Int32]
  /// The places in `ids` that are to be predicted; what comes before them is given.
  package let answer: Range<Int>

  package init(global: View, focal: View, ids: [Int32], answer: Range<Int>) {
    self.global = global
    self.focal = focal
    self.ids = ids
    self.answer = answer
  }

  package init(_ views: Views, ids: [Int32], answer: Range<Int>) {
    func view(_ arrays: Views.Arrays) -> View { View(pet: arrays.pet, mask: arrays.mask, ct: arrays.ct) }
    self.init(global: view(views.global), focal: view(views.focal), ids: ids, answer: answer)
  }

  /// - Throws: `PETAR_ERROR_INVALID_ARGUMENT`, `PETAR_ERROR_BAD_TEXT` or `PETAR_ERROR_CONTEXT_FULL` for what does not
  ///   fit the model.
  func validate(_ model: ModelDescription) throws {
    for array in global.arrays + focal.arrays where array.count != model.views.extent.count {
      throw PetarError(
        PETAR_ERROR_INVALID_ARGUMENT,
        "an example's view has \(array.count) voxels, the model sees \(model.views.extent.count)")
    }
    guard ids.count <= model.decoder.context else {
      throw PetarError(
        PETAR_ERROR_CONTEXT_FULL, "an example has \(ids.count) tokens, the model's context \(model.decoder.context)")
    }
    for id in ids where id < 0 || Int(id) >= model.decoder.vocabulary {
      throw PetarError(
        PETAR_ERROR_BAD_TEXT, "token \(id) lies outside the vocabulary of \(model.decoder.vocabulary)")
    }
    let images = ids.count { $0 == model.prompt.imageToken }
    guard images == model.visionTokens else {
      throw PetarError(
        PETAR_ERROR_INVALID_ARGUMENT,
        "an example has \(images) image tokens, the model \(model.visionTokens) vision tokens")
    }
    guard answer.lowerBound > 0, answer.upperBound <= ids.count, !answer.isEmpty else {
      throw PetarError(
        PETAR_ERROR_INVALID_ARGUMENT,
        "the answer is at \(answer) of \(ids.count) tokens; it must follow a prompt and not be empty")
    }
  }
}
