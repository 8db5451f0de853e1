import CPetar
import Foundation
import Petar
import Testing

@Suite("ABI, step by step") struct StepByStepTests {
  /// Another window makes another picture of the same shape.
  @Test func viewsOfAnotherModelAreRefused() throws {
    try withTemporaryFolder { folder in
      let session = try openSession("\(folder)/one.petar") { _ in }
      let same = try openSession("\(folder)/same.petar") { $0.name = "same" }
      let other = try openSession("\(folder)/other.petar") { $0.views.ctWindow = -1000...400 }
      let pet = try makeVolume(PETAR_UNIT_SUV) { $0 == 0 ? 8 : 1 }
      let ct = try makeVolume(PETAR_UNIT_HU) { _ in 0 }
      let mask = try makeVolume(PETAR_UNIT_LABEL) { $0 < 4 ? 1 : 0 }
      defer {
        for session in [session, same, other] { petar_session_free(session) }
        for volume in [pet, ct, mask] { petar_volume_free(volume) }
      }
      var exam = petar_exam()
      petar_exam_init(&exam, MemoryLayout<petar_exam>.size)
      (exam.pet, exam.ct, exam.mask) = (pet, ct, mask)
      var views: OpaquePointer?
      #expect(petar_prepare(session, &exam, &views) == PETAR_OK)
      defer { petar_views_free(views) }

      var tokens = [Float](repeating: 0, count: 1 << 10)
      for (session, status) in [(session, PETAR_OK), (same, PETAR_OK), (other, PETAR_ERROR_INVALID_ARGUMENT)] {
        var count = tokens.count
        #expect(petar_encode(session, views, &tokens, &count) == status)
      }
      #expect(String(cString: petar_last_message()).contains("another model"))
    }
  }

  private func openSession(
    _ path: String, change: (inout ModelDescription) -> Void
  ) throws -> OpaquePointer {
    try writeTinyModel(.f32, to: path, change: change)
    var (model, session): (OpaquePointer?, OpaquePointer?)
    #expect(petar_model_open(path, nil, &model) == PETAR_OK)
    #expect(petar_session_create(model, nil, &session) == PETAR_OK)
    petar_model_free(model)
    return try #require(session)
  }

  /// 8 x 8 x 8 voxels of 3 mm, by their position in memory counted from the last one: the top slice comes first.
  private func makeVolume(_ unit: petar_unit, _ value: (Int) -> Float) throws -> OpaquePointer {
    let voxels = (0..<512).reversed().map(value)
    var params = petar_volume_params()
    petar_volume_params_init(&params, MemoryLayout<petar_volume_params>.size)
    params.data_type = Int32(PETAR_FLOAT32.rawValue)
    params.unit = Int32(unit.rawValue)
    params.shape = (8, 8, 8)
    (params.affine.0, params.affine.5, params.affine.10, params.affine.15) = (3, 3, 3, 1)
    var volume: OpaquePointer?
    voxels.withUnsafeBytes {
      params.voxels = $0.baseAddress
      params.voxels_size = $0.count
      #expect(petar_volume_create(&params, &volume) == PETAR_OK)
    }
    return try #require(volume)
  }
}
