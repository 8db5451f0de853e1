/// SHA-256 (FIPS 180-4) of bytes that come in pieces.
package struct SHA256 {
  private var state: (UInt32, UInt32, UInt32, UInt32, UInt32, UInt32, UInt32, UInt32) = (
    0x6a09_e667, 0xbb67_ae85, 0x3c6e_f372, 0xa54f_f53a, 0x510e_527f, 0x9b05_688c, 0x1f83_d9ab, 0x5be0_cd19
  )
  private var length: UInt64 = 0
  /// What came in after the last whole block; fewer than 64 bytes.
  private var pending: [UInt8] = []

  package init() { pending.reserveCapacity(128) }

  package mutating func update(_ bytes: UnsafeRawBufferPointer) {
    length &+= UInt64(bytes.count)
    var rest = bytes[...]
    if !pending.isEmpty {
      let missing = rest.prefix(64 - pending.count)
      pending.append(contentsOf: missing)
      rest = rest.dropFirst(missing.count)
      guard pending.count == 64 else { return }
      let block = pending
      block.withUnsafeBytes { compressBlocks($0) }
      pending.removeAll(keepingCapacity: true)
    }
    let whole = rest.count / 64 * 64
    compressBlocks(UnsafeRawBufferPointer(rebasing: rest.prefix(whole)))
    pending.append(contentsOf: rest.dropFirst(whole))
  }

  package mutating func update(_ bytes: [UInt8]) { bytes.withUnsafeBytes { update($0) } }

  /// The 32 bytes of the digest.
  package consuming func finish() -> [UInt8] {
    let bits = length &* 8
    let zeros = (119 - pending.count) % 64
    var tail: [UInt8] = [0x80] + [UInt8](repeating: 0, count: zeros)
    withUnsafeBytes(of: bits.bigEndian) { tail.append(contentsOf: $0) }
    update(tail)
    var digest: [UInt8] = []
    digest.reserveCapacity(32)
    for word in [state.0, state.1, state.2, state.3, state.4, state.5, state.6, state.7] {
      withUnsafeBytes(of: word.bigEndian) { digest.append(contentsOf: $0) }
    }
    return digest
  }

  package static func digest(_ bytes: UnsafeRawBufferPointer) -> [UInt8] {
    var hash = SHA256()
    hash.update(bytes)
    return hash.finish()
  }

  package static func digest(_ bytes: [UInt8]) -> [UInt8] { bytes.withUnsafeBytes { digest($0) } }

  /// `bytes.count` is a multiple of 64. All arithmetic is modulo 2^32, as the standard has it.
  private mutating func compressBlocks(_ bytes: UnsafeRawBufferPointer) {
    guard let base = bytes.baseAddress else { return }
    let key = roundConstants.base
    withUnsafeTemporaryAllocation(of: UInt32.self, capacity: 64) { schedule in
      guard let w = schedule.baseAddress else { return }
      for start in stride(from: 0, to: bytes.count, by: 64) {
        for t in 0..<16 {
          w[t] = UInt32(bigEndian: (base + start + t &* 4).loadUnaligned(as: UInt32.self))
        }
        for t in 16..<64 {
          let a = w[t &- 15]
          let b = w[t &- 2]
          w[t] =
            w[t &- 16] &+ w[t &- 7] &+ (rotate(a, 7) ^ rotate(a, 18) ^ (a &>> 3))
            &+ (rotate(b, 17) ^ rotate(b, 19) ^ (b &>> 10))
        }
        var (a, b, c, d, e, f, g, h) = state
        // Eight rounds leave every variable in its own place again.
        for t in stride(from: 0, to: 64, by: 8) {
          round(a, b, c, &d, e, f, g, &h, key[t] &+ w[t])
          round(h, a, b, &c, d, e, f, &g, key[t &+ 1] &+ w[t &+ 1])
          round(g, h, a, &b, c, d, e, &f, key[t &+ 2] &+ w[t &+ 2])
          round(f, g, h, &a, b, c, d, &e, key[t &+ 3] &+ w[t &+ 3])
          round(e, f, g, &h, a, b, c, &d, key[t &+ 4] &+ w[t &+ 4])
          round(d, e, f, &g, h, a, b, &c, key[t &+ 5] &+ w[t &+ 5])
          round(c, d, e, &f, g, h, a, &b, key[t &+ 6] &+ w[t &+ 6])
          round(b, c, d, &e, f, g, h, &a, key[t &+ 7] &+ w[t &+ 7])
        }
        state = (
          state.0 &+ a, state.1 &+ b, state.2 &+ c, state.3 &+ d, state.4 &+ e, state.5 &+ f, state.6 &+ g,
          state.7 &+ h
        )
      }
    }
  }
}

/// Lower-case hexadecimal.
package func hexadecimal(_ bytes: some Sequence<UInt8>) -> String {
  let digits = Array("0123456789abcdef".utf8)
  var text: [UInt8] = []
  for byte in bytes {
    text.append(digits[Int(byte >> 4)])
    text.append(digits[Int(byte & 15)])
  }
  return String(decoding: text, as: UTF8.self)
}

@inline(__always) private func rotate(_ value: UInt32, _ count: UInt32) -> UInt32 {
  (value &>> count) | (value &<< (32 &- count))
}

@inline(__always) private func round(
  _ a: UInt32, _ b: UInt32, _ c: UInt32, _ d: inout UInt32, _ e: UInt32, _ f: UInt32, _ g: UInt32, _ h: inout UInt32,
  _ keyed: UInt32
) {
  let sum = h &+ (rotate(e, 6) ^ rotate(e, 11) ^ rotate(e, 25)) &+ (g ^ (e & (f ^ g))) &+ keyed
  d = d &+ sum
  h = sum &+ (rotate(a, 2) ^ rotate(a, 13) ^ rotate(a, 22)) &+ ((a & b) | (c & (a | b)))
}

/// The constants outside an array, whose bounds checks would cost a third of the speed.
private struct RoundConstants: @unchecked Sendable {
  let base: UnsafePointer<UInt32>

  init(_ words: [UInt32]) {
    let copy = UnsafeMutablePointer<UInt32>.allocate(capacity: words.count)
    copy.initialize(from: words, count: words.count)
    base = UnsafePointer(copy)
  }
}

private let roundConstants = RoundConstants([
  0x428a_2f98, 0x7137_4491, 0xb5c0_fbcf, 0xe9b5_dba5, 0x3956_c25b, 0x59f1_11f1, 0x923f_82a4, 0xab1c_5ed5,
  0xd807_aa98, 0x1283_5b01, 0x2431_85be, 0x550c_7dc3, 0x72be_5d74, 0x80de_b1fe, 0x9bdc_06a7, 0xc19b_f174,
  0xe49b_69c1, 0xefbe_4786, 0x0fc1_9dc6, 0x240c_a1cc, 0x2de9_2c6f, 0x4a74_84aa, 0x5cb0_a9dc, 0x76f9_88da,
  0x983e_5152, 0xa831_c66d, 0xb003_27c8, 0xbf59_7fc7, 0xc6e0_0bf3, 0xd5a7_9147, 0x06ca_6351, 0x1429_2967,
  0x27b7_0a85, 0x2e1b_2138, 0x4d2c_6dfc, 0x5338_0d13, 0x650a_7354, 0x766a_0abb, 0x81c2_c92e, 0x9272_2c85,
  0xa2bf_e8a1, 0xa81a_664b, 0xc24b_8b70, 0xc76c_51a3, 0xd192_e819, 0xd699_0624, 0xf40e_3585, 0x106a_a070,
  0x19a4_c116, 0x1e37_6c08, 0x2748_774c, 0x34b0_bcb5, 0x391c_0cb3, 0x4ed8_aa4a, 0x5b9c_ca4f, 0x682e_6ff3,
  0x748f_82ee, 0x78a5_636f, 0x84c8_7814, 0x8cc7_0208, 0x90be_fffa, 0xa450_6ceb, 0xbef9_a3f7, 0xc671_78f2,
])
