import CPetar
import Petar

/// A lesion, what is asked and what is to be answered.
package struct TrainingExample: Sendable {
  /// PET, mask and CT, each of the model's view extent.
  package let global: Views.Arrays
  package let focal: Views.Arrays
  /// Prompt and answer: begin of text, one image token for each vision token, question, answer, end of text.
  package let ids: [Int32]
  /// The places in `ids` that are to be predicted; what comes before them is given.
  package let answer: Range<Int>

  package init(global: Views.Arrays, focal: Views.Arrays, ids: [Int32], answer: Range<Int>) {
    self.global = global
    self.focal = focal
    self.ids = ids
    self.answer = answer
  }

  /// - Throws: `PETAR_ERROR_INVALID_ARGUMENT`, `PETAR_ERROR_BAD_TEXT` or `PETAR_ERROR_CONTEXT_FULL` for what does not
  ///   fit the model.
  func validate(_ model: ModelDescription) throws {
    for array in [global, focal].flatMap({ [$0.pet, $0.mask, $0.ct] })
    where array.count != model.views.extent.count {
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
