import PetarConsole

Tool("petar-describe", help: { _ in Request.help }, exitCode: { Int32($0.status.rawValue) }).run { words in
  let request = try Request(words)
  let describer = try Describer(request)
  if request.eachLabel { try describer.describeEachLabel() } else { try describer.describe() }
}
