import Foundation

/// Linear warm-up, then half a cosine down to zero, as transformers' `get_cosine_schedule_with_warmup`.
package struct LearningRate: Sendable, Equatable {
  package var peak: Double
  package var warmUpSteps: Int
  package var steps: Int

  package init(peak: Double, warmUpSteps: Int, steps: Int) {
    self.peak = peak
    self.warmUpSteps = warmUpSteps
    self.steps = steps
  }

  /// For step `step`, counted from 0.
  package func callAsFunction(_ step: Int) -> Double {
    guard step >= warmUpSteps else { return peak * Double(step) / Double(max(warmUpSteps, 1)) }
    let progress = Double(step - warmUpSteps) / Double(max(steps - warmUpSteps, 1))
    return peak * max(0, 0.5 * (1 + cos(.pi * progress)))
  }
}
