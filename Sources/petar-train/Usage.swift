let usage = """
  petar-train: make training data; train models (not yet: only a step can be timed).

    petar-train phantom --exams N --seed S --out DIR
    petar-train bench [THREADS] [STEPS]

  petar-train COMMAND --help says more about a command.

  For research use only. PETAR is not a medical device.

  """
