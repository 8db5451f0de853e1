import Petar

/// A block of a transformer: rows in, as many rows out, through residual connections.
protocol ResidualBlock {
  /// What the backward pass needs beside the inputs. Its memory lies in the arena.
  associatedtype Saved
  var width: Int { get }
  var isTrained: Bool { get }
  func forward(
    _ x: UnsafePointer<Float>, _ layout: RowLayout, into y: UnsafeMutablePointer<Float>, _ engine: Engine
  ) throws -> Saved
  /// Adds the gradients of what is trained; `gradient` is that of the outputs and becomes that of the inputs.
  func backward(
    _ x: UnsafePointer<Float>, _ saved: Saved, _ layout: RowLayout, gradient: UnsafeMutablePointer<Float>,
    _ engine: Engine
  ) throws
}

/// Blocks one after another.
struct BlockStack<Block: ResidualBlock> {
  let blocks: [Block]
  /// Keep only the inputs of each block and compute it again in the backward pass (activation checkpointing).
  let checkpointing: Bool

  /// What a forward pass leaves behind. Memory lies in the arena.
  struct Trace {
    /// The first block that the backward pass goes through.
    let first: Int
    let output: UnsafeMutablePointer<Float>
    /// From block `first` on. `saved` is empty with checkpointing.
    fileprivate var inputs: [UnsafePointer<Float>] = []
    fileprivate var saved: [Block.Saved] = []
  }

  /// The first block that is trained; `blocks.count` if none is.
  var firstTrained: Int { blocks.firstIndex(where: \.isTrained) ?? blocks.count }

  /// - Parameter first: the block down to which the backward pass will go, 0 if the inputs' gradient is wanted;
  ///   nothing is kept of those before it.
  func forward(
    _ x: UnsafeMutablePointer<Float>, _ layout: RowLayout, backwardTo first: Int, _ engine: Engine
  ) throws -> Trace {
    let count = layout.rows * (blocks.first?.width ?? 0)
    var current = x
    if first > 0, !blocks.isEmpty {
      // Two buffers in turn; the inputs are the caller's.
      var (next, other) = (try engine.arena.floats(count), try engine.arena.floats(count))
      for block in blocks[..<first] {
        try engine.arena.scoped { _ = try block.forward(current, layout, into: next, engine) }
        current = next
        swap(&next, &other)
      }
    }
    var inputs: [UnsafePointer<Float>] = []
    var saved: [Block.Saved] = []
    for block in blocks[first...] {
      let next = try engine.arena.floats(count)
      inputs.append(current)
      if checkpointing {
        try engine.arena.scoped { _ = try block.forward(current, layout, into: next, engine) }
      } else {
        saved.append(try block.forward(current, layout, into: next, engine))
      }
      current = next
    }
    return Trace(first: first, output: current, inputs: inputs, saved: saved)
  }

  /// `gradient` is that of the output and becomes that of the inputs of block `trace.first`.
  func backward(
    _ trace: Trace, _ layout: RowLayout, gradient: UnsafeMutablePointer<Float>, _ engine: Engine
  ) throws {
    for (index, block) in blocks.enumerated().dropFirst(trace.first).reversed() {
      let x = trace.inputs[index - trace.first]
      try engine.arena.scoped {
        let saved: Block.Saved
        if checkpointing {
          // The outputs are there already; they are computed into memory of no use.
          let outputs = try engine.arena.floats(layout.rows * block.width)
          saved = try block.forward(x, layout, into: outputs, engine)
        } else {
          saved = trace.saved[index - trace.first]
        }
        try block.backward(x, saved, layout, gradient: gradient, engine)
      }
    }
  }
}
