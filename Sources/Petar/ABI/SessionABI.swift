import CPetar

@c @implementation
public func petar_session_params_init(_ params: UnsafeMutablePointer<petar_session_params>?, _ structSize: Int) {
  initialize(params, structSize, petar_session_params())
}

@c @implementation
public func petar_session_create(
  _ model: OpaquePointer?, _ params: UnsafePointer<petar_session_params>?,
  _ session: UnsafeMutablePointer<OpaquePointer?>?
) -> petar_status {
  status {
    let session = try require(session, "session")
    session.pointee = nil
    let model = try object(model, as: Model.self, "model")
    let params =
      try params.map { try read($0, over: petar_session_params(), first: 48, "params") } ?? petar_session_params()
    guard (0...1024).contains(params.threads) else {
      throw invalid("threads is \(params.threads); give 0 for all processors, or 1 to 1024")
    }
    let threads = params.threads == 0 ? ThreadPool.processors : Int(params.threads)
    let pool =
      if let parallel = params.parallel {
        ThreadPool(threads: threads, parallel: parallel, userData: params.parallel_user_data)
      } else {
        try ThreadPool(threads: threads)
      }
    session.pointee = hand(
      SessionHandle(try Session(model: model, pool: pool), log: params.log, logUserData: params.log_user_data))
  }
}

@c @implementation
public func petar_session_free(_ session: OpaquePointer?) { release(session, as: SessionHandle.self) }

@c @implementation
public func petar_session_cancel(_ session: OpaquePointer?) {
  if let handle = try? object(session, as: SessionHandle.self, "session") { handle.session.cancel() }
}

/// A session and where its host wants to hear warnings.
final class SessionHandle {
  let session: Session
  private let log: petar_log_fn?
  private let logUserData: UnsafeMutableRawPointer?

  init(_ session: Session, log: petar_log_fn?, logUserData: UnsafeMutableRawPointer?) {
    self.session = session
    self.log = log
    self.logUserData = logUserData
  }

  func warn(_ warnings: [String]) {
    guard let log else { return }
    for warning in warnings { warning.withCString { log(logUserData, 1, $0) } }
  }
}
