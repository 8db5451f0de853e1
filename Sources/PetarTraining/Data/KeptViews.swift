import Petar
import Synchronization

/// Views that a run keeps in memory until it is full: those that came first stay. A stage finds those of the one before.
package final class KeptViews: Sendable {
  private struct State {
    var views: [QuestionOrder.Sight: Views] = [:]
    var room: Int
  }

  private let state: Mutex<State>

  /// - Parameter limit: bytes.
  package init(limit: Int) { state = Mutex(State(room: limit)) }

  package subscript(sight: QuestionOrder.Sight) -> Views? { state.withLock { $0.views[sight] } }

  /// Lets go of masks that nobody will ask for.
  package func drop(where isUnwanted: (_ mask: Int) -> Bool) {
    state.withLock { state in
      for (sight, views) in state.views where isUnwanted(sight.mask) {
        state.views[sight] = nil
        state.room += views.extent.viewBytes
      }
    }
  }

  package func keep(_ views: Views, _ sight: QuestionOrder.Sight) {
    let bytes = views.extent.viewBytes
    state.withLock { state in
      guard bytes <= state.room, state.views[sight] == nil else { return }
      state.views[sight] = views
      state.room -= bytes
    }
  }
}

extension ModelDescription.Extent {
  /// What is seen of a mask takes so many bytes: PET, mask and CT as f32, of the whole and of the focal view.
  package var viewBytes: Int { count * 2 * 3 * 4 }
}
