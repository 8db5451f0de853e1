let usage = """
  petar-convert: make, look into and check .petar files, the form in which libpetar and petar-describe take a model.

    petar-convert CHECKPOINT_DIR -o FILE.petar --weights f32|f16|q8|q4 [--calibrate TEXTS.txt] [--name NAME]
                  [--threads N]
    petar-convert inspect FILE.petar [--json]
    petar-convert verify FILE.petar
    petar-convert synth --shape NAME --weights f32|f16|q8|q4 -o FILE.petar [--seed N] [--threads N]

  Convert
    CHECKPOINT_DIR    a Hugging Face folder as PETAR and M3D publish it: config.json, generation_config.json, the
                      tokenizer, and model.safetensors or shards with model.safetensors.index.json (f32, f16 or bf16).
                      If there, typical_findings.txt goes into the file too, whatever the weights, for the decoder to
                      guess ahead from, and LICENSE becomes its provenance.licence.
    -o, --output      the file to make. It appears under this name when it is complete, or not at all.
    --weights         how matrices are stored. q8: int8 with a scale for every 128 weights of a row, a quarter of f32.
                      q4: 4.6 bits for each weight of the decoder's layers, the rest as q8; half of q8, writes faster,
                      somewhat less exact. f16: half of f32. f32: exact, the reference. Norms, biases and positions
                      stay f32.
    --calibrate       for q4: texts like the findings the model is to write, one a line. Weights are then chosen so that
                      the outputs for these texts change least: on SmolLM2 2 % of perplexity is lost instead of 13 %.
                      4096 tokens are read at most; it takes some 10 s for each layer of a 4B model. The checkpoint's
                      own typical_findings.txt is taken unless another file is given; without either, weights are
                      rounded.
    --name            what the model is called in findings; the folder's name otherwise.
    --threads         all processors unless given.

  Every tensor that is missing, unexpected or misshapen is named before anything is written. What quantization cost
  is printed for each kind of tensor: the relative RMS error ||w - q8(w)|| / ||w||, and for calibrated ones that of the
  outputs.

  Inspect           says what a file holds; --json prints one object with every tensor.
  Verify            reads the whole file and compares every tensor with its SHA-256.
  Synth             makes a file of random weights to measure speed with. --shape is petar-4b or petar-4b-2-layers
                    (2 layers in each tower and in the decoder, 2048 words); --seed is 0 unless given.

  Exit codes
    0 done             3 checkpoint or texts are refused        5 the .petar file is damaged or no .petar file
    2 wrong usage      4 a file cannot be read or written       130 interrupted; nothing is left behind
    1 anything else

  Example
    petar-convert ./petar-4b -o petar-4b-q8.petar --weights q8
    petar-convert verify petar-4b-q8.petar
    petar-describe --model petar-4b-q8.petar --pet pet.nii.gz --ct ct.nii.gz --mask lesion.nii.gz

  For research use only. PETAR is not a medical device.

  """
