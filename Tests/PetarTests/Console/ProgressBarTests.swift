import PetarConsole
import Testing

@Suite("Console: the bar") struct ProgressBarTests {
  @Test("The time left is that of work done since it went on, not of what was done before") func timeLeft() {
    // Half an hour for steps 900 to 950 of 1000, the others in an earlier run.
    #expect(ProgressBar.secondsLeft(after: 1800, 900, 950, 1000) == 1800)
    #expect(ProgressBar.secondsLeft(after: 30, 0, 3, 12) == 90)
    #expect(ProgressBar.secondsLeft(after: 30, 0, 12, 12) == 0)
    #expect(ProgressBar.secondsLeft(after: 30, 7, 7, 12) == nil)
  }
}
