import CKernels
import CPetar

/// The next rows of a text, as the projection to queries, keys and values leaves them.
package struct CausalRows {
  /// Rows of the queries of all heads, then the keys, then the values, side by side.
  package let qkv: UnsafeMutablePointer<Float>
  package let rows: Int
  /// Results are wanted of the last so many rows; the others join the cache and no more.
  package let results: Int
  /// What the text's rows before these left.
  package let cache: KeyValues
  /// `results` rows of all heads.
  package let out: UnsafeMutablePointer<Float>

  /// - Parameter results: of how many rows; nil for all.
  package init(
    qkv: UnsafeMutablePointer<Float>, rows: Int, results: Int? = nil, _ cache: KeyValues,
    into out: UnsafeMutablePointer<Float>
  ) {
    self.qkv = qkv
    self.rows = rows
    self.results = results ?? rows
    self.cache = cache
    self.out = out
  }
}

extension Compute {
  /// Self-attention of the rows of several texts, each with those of its own text up to itself.
  ///
  /// Queries and keys turn by their position, keys and values join the text's cache, and each row attends as
  /// `attend(queries:)` has it. One part of the work takes a key head of a text through all of that: a step of
  /// many texts costs the threads one meeting.
  /// - Parameters:
  ///   - heads: of queries.
  ///   - window: positions that a row sees, its own among them; nil for all.
  ///   - rotary: for heads as wide as the caches', and all positions.
  /// - Throws: `PETAR_ERROR_INTERNAL` if rows do not fit a cache, and no cache has changed;
  ///   `PETAR_ERROR_OUT_OF_MEMORY`.
  package func attend(
    _ texts: [CausalRows], heads: Int, window: Int?, _ rotary: RotaryTable, scratch: Scratch
  ) throws {
    guard let first = texts.first?.cache else { return }
    var (rows, positions) = (0, 0)
    for text in texts {
      let (cache, end) = (text.cache, text.cache.count + text.rows)
      guard text.rows > 0, text.results >= 0, text.results <= text.rows, end <= min(cache.capacity, rotary.positions),
        cache.heads == first.heads, cache.headWidth == first.headWidth, heads > 0, heads % cache.heads == 0,
        window ?? 1 > 0
      else {
        throw PetarError(
          PETAR_ERROR_INTERNAL,
          "attention: \(text.rows) rows of \(heads) heads do not fit behind \(cache.count) of \(cache.capacity) positions "
            + "of \(cache.heads) heads of \(cache.headWidth)")
      }
      rows = max(rows, text.rows)
      positions = max(positions, end)
    }
    let block = min(Self.attentionRows, rows)
    let scoreStride = roundedUp(positions, to: 16)
    guard let bytes = product(pool.threads, block, scoreStride, 4) else {
      throw PetarError(PETAR_ERROR_OUT_OF_MEMORY, "out of memory: attention over \(positions) positions")
    }
    let scores = try scratch.bytes(bytes).assumingMemoryBound(to: Float.self)
    texts.withUnsafeBufferPointer { texts in
      let attending = AttendingTexts(
        compute: self, texts: texts, heads: heads, keyHeads: first.heads, headWidth: first.headWidth, window: window,
        rotary: rotary, block: block, scores: scores, scoreStride: scoreStride)
      withUnsafePointer(to: attending) { attending in
        pool.run(texts.count * first.heads, attending) { attending, part, lane in
          attending.assumingMemoryBound(to: AttendingTexts.self).pointee.compute(part, lane: lane)
        }
      }
    }
    for text in texts { text.cache.advance(by: text.rows) }
  }
}

/// The key heads of all texts.
private struct AttendingTexts {
  let compute: Compute
  let texts: UnsafeBufferPointer<CausalRows>
  let heads: Int
  let keyHeads: Int
  let headWidth: Int
  let window: Int?
  let rotary: RotaryTable
  let block: Int
  let scores: UnsafeMutablePointer<Float>
  let scoreStride: Int

  func compute(_ part: Int, lane: Int) {
    let (text, keyHead) = (texts[part / keyHeads], part % keyHeads)
    let (group, stride) = (heads / keyHeads, (heads + 2 * keyHeads) * headWidth)
    let skipped = text.rows - text.results
    let (queries, keys) = (text.qkv + keyHead * group * headWidth, text.qkv + (heads + keyHead) * headWidth)
    turn(queries, heads: group, stride: stride, skipped..<text.rows, text)
    turn(keys, heads: 1, stride: stride, 0..<text.rows, text)
    text.cache.append(
      head: keyHead, keys: keys, keyStride: stride, values: keys + keyHeads * headWidth, valueStride: stride,
      rows: text.rows, compute)

    // Parts are handed out in order: this thread's next one is likely as many ahead as there are threads.
    let next = min(part + compute.pool.threads, texts.count * keyHeads - 1)
    let ahead = UnsafeRawPointer(texts[next / keyHeads].cache.keys(head: next % keyHeads))
    let mask = AttentionMask.causal(firstPosition: text.cache.count, window: window)
    let (scale, width) = (1 / Float(headWidth).squareRoot(), heads * headWidth)
    for head in 0..<group {
      let column = head * headWidth
      let out = text.out + keyHead * group * headWidth + column
      for first in Swift.stride(from: skipped, to: text.rows, by: block) {
        let rows = Compute.BlockOfRows(
          queries: queries + first * stride + column, stride: stride, rows: first..<min(first + block, text.rows),
          out: out + (first - skipped) * width, outStride: width, scores: scores + lane * block * scoreStride,
          scoreStride: scoreStride)
        compute.attend(rows, keyHead: keyHead, text.cache, mask, scale, ahead: ahead)
      }
    }
  }

  /// Turns neighbouring heads of queries or keys by their rows' positions.
  private func turn(
    _ x: UnsafeMutablePointer<Float>, heads: Int, stride: Int, _ rows: Range<Int>, _ text: CausalRows
  ) {
    let half = headWidth / 2
    let (cosines, sines) = (rotary.cosines(from: text.cache.count), rotary.sines(from: text.cache.count))
    for row in rows {
      let x = x + row * stride
      for head in 0..<heads {
        compute.kernels.rope(x + head * headWidth, half, cosines + row * half, sines + row * half)
      }
      text.cache.spread(x, heads: heads, compute.kernels)
    }
  }
}
