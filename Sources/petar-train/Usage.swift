let usage = """
  petar-train: make training data, train models.

    petar-train phantom --exams N --seed S --out DIR          exams of digital phantoms, with findings
    petar-train run RECIPE.json --data DIR --out DIR          a model, stage after stage
    petar-train evaluate MODEL.petar DATA                     how often a model is right
    petar-train bench [THREADS] [STEPS]                       how long a step takes

  petar-train COMMAND --help says more about a command.

  For research use only. PETAR is not a medical device.

  """
