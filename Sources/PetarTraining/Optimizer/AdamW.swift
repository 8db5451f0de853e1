import CPetar
import CTraining
import Foundation
import Petar

/// AdamW (Loshchilov and Hutter 2019), as torch.optim.AdamW computes it: decoupled weight decay, bias correction.
package final class AdamW {
  package struct Settings: Sendable, Equatable {
    package var beta1: Float = 0.9
    package var beta2: Float = 0.999
    package var epsilon: Float = 1e-8
    /// Norms and biases are not decayed.
    package var weightDecay: Float = 0
    /// Gradients whose norm, over all tensors, is larger are scaled down to it; nil for none.
    package var largestNorm: Float?

    package init() {}
  }

  package struct Moments {
    package let mean: Buffer<Float>
    package let square: Buffer<Float>
  }

  package let settings: Settings
  /// Steps taken; with the moments the whole state.
  package internal(set) var steps = 0
  /// By the names of the trained tensors.
  package let moments: [String: Moments]
  let parameters: Parameters
  private let pool: ThreadPool
  private let operations = ct_operations_best().pointee

  /// For the parameters that are trained now.
  /// - Throws: `PETAR_ERROR_OUT_OF_MEMORY`.
  package init(_ parameters: Parameters, _ settings: Settings, pool: ThreadPool) throws {
    self.parameters = parameters
    self.settings = settings
    self.pool = pool
    var moments: [String: Moments] = [:]
    for tensor in parameters.tensors where tensor.gradient != nil {
      moments[tensor.name] = Moments(
        mean: try Buffer(count: tensor.values.count), square: try Buffer(count: tensor.values.count))
    }
    self.moments = moments
  }

  /// Changes the trained parameters by their gradients, which are zero afterwards.
  /// - Returns: the norm of the gradients before clipping.
  /// - Throws: `PETAR_ERROR_INTERNAL` when a gradient is not finite; nothing is changed then.
  package func step(learningRate: Double) throws -> Double {
    let norm = gradientNorm()
    guard norm.isFinite else {
      throw PetarError(
        PETAR_ERROR_INTERNAL,
        "the gradients are not finite at step \(steps + 1): the training diverged; lower the learning rate or clip")
    }
    steps += 1
    var rates = ct_adamw_rates()
    rates.beta1 = settings.beta1
    rates.beta2 = settings.beta2
    rates.epsilon = settings.epsilon
    rates.step_size = Float(learningRate / (1 - pow(Double(settings.beta1), Double(steps))))
    rates.root_correction = Float(1 / (1 - pow(Double(settings.beta2), Double(steps))).squareRoot())
    // As torch.nn.utils.clip_grad_norm_.
    rates.gradient_scale = settings.largestNorm.map { min(1, $0 / (Float(norm) + 1e-6)) } ?? 1
    for tensor in parameters.tensors {
      guard let gradient = tensor.gradient, let moments = moments[tensor.name] else { continue }
      rates.decay = Float(1 - learningRate * Double(tensor.decays ? settings.weightDecay : 0))
      overParts(of: tensor.values.count) { _, first, count in
        withUnsafePointer(to: rates) { rates in
          operations.adamw(
            tensor.values.base + first, gradient.base + first, moments.mean.base + first,
            moments.square.base + first, count, rates)
        }
      }
    }
    return norm
  }

  /// Counts a step that had nothing to learn from.
  package func skipStep() { steps += 1 }

  /// The norm over all gradients; sums run in the order of parts and tensors.
  private func gradientNorm() -> Double {
    var sum = 0.0
    for tensor in parameters.tensors {
      guard let gradient = tensor.gradient else { continue }
      var squares = [Double](repeating: 0, count: Self.parts(gradient.count))
      squares.withUnsafeMutableBufferPointer { squares in
        nonisolated(unsafe) let squares = squares
        overParts(of: gradient.count) { part, first, count in
          squares[part] = operations.sum_of_squares(gradient.base + first, count)
        }
      }
      sum += squares.reduce(0, +)
    }
    return sum.squareRoot()
  }

  private static let partFloats = 1 << 16
  private static func parts(_ count: Int) -> Int { (count + partFloats - 1) / partFloats }

  private func overParts(of count: Int, _ body: (_ part: Int, _ first: Int, _ count: Int) -> Void) {
    pool.run(Self.parts(count)) { part in
      body(part, part * Self.partFloats, min(Self.partFloats, count - part * Self.partFloats))
    }
  }
}
