import CPetar

@c @implementation
public func petar_volume_params_init(_ params: UnsafeMutablePointer<petar_volume_params>?, _ structSize: Int) {
  initialize(params, structSize, volumeDefaults)
}

private var volumeDefaults: petar_volume_params {
  var params = petar_volume_params()
  params.slope = 1
  return params
}

@c @implementation
public func petar_volume_create(
  _ params: UnsafePointer<petar_volume_params>?, _ volume: UnsafeMutablePointer<OpaquePointer?>?
) -> petar_status {
  status {
    let volume = try require(volume, "volume")
    volume.pointee = nil
    let params = try read(try require(params, "params"), over: volumeDefaults, first: 216, "params")
    let voxels = try require(params.voxels, "params->voxels")
    guard params.voxels_size >= 0 else { throw invalid("params->voxels_size is larger than any memory") }
    guard let dataType = VoxelType(rawValue: params.data_type) else {
      throw invalid("params->data_type is \(params.data_type), not one of petar_data_type")
    }
    let affine = withUnsafeBytes(of: params.affine) { Array($0.bindMemory(to: Double.self)) }
    let shape = [params.shape.0, params.shape.1, params.shape.2].map { Int($0) }
    volume.pointee = hand(
      Handle(
        try Volume(
          voxels: UnsafeRawBufferPointer(start: voxels, count: params.voxels_size), type: dataType, shape: shape,
          affine: affine, unit: try unit(params.unit), suvFactor: params.suv_factor, slope: params.slope,
          intercept: params.intercept)))
  }
}

@c @implementation
public func petar_volume_read(
  _ path: UnsafePointer<CChar>?, _ unitCode: Int32, _ suvFactor: Double,
  _ volume: UnsafeMutablePointer<OpaquePointer?>?
) -> petar_status {
  status {
    let volume = try require(volume, "volume")
    volume.pointee = nil
    let path = try text(try require(path, "path"), "path")
    volume.pointee = hand(Handle(try Volume.read(niftiPath: path, unit: try unit(unitCode), suvFactor: suvFactor)))
  }
}

@c @implementation
public func petar_volume_free(_ volume: OpaquePointer?) { release(volume, as: Handle<Volume>.self) }

@c @implementation
public func petar_volume_labels(
  _ volume: OpaquePointer?, _ labels: UnsafeMutablePointer<Int32>?, _ count: UnsafeMutablePointer<Int>?
) -> petar_status {
  status { try handOut(try object(volume, as: Handle<Volume>.self, "volume").value.labels(), labels, count) }
}

private func unit(_ code: Int32) throws -> Volume.Unit {
  guard let unit = Volume.Unit(rawValue: code) else { throw invalid("unit is \(code), not one of petar_unit") }
  return unit
}
