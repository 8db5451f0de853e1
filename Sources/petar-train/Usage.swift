let usage = """
  petar-train: make training data, and models out of it.

    petar-train phantom --exams N --seed S --out DIR

  petar-train COMMAND --help says more about a command.

  For research use only. PETAR is not a medical device.

  """
