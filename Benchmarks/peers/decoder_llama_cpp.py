"""llama.cpp on a decoder of Phi-3-mini's shape with random weights: prefill, decode of one text, steps of eight.

    python decoder_llama_cpp.py make FILE.gguf [Q8_0|Q4_0]   writes the model (4 GB; Q4_0: 2 GB)
    python decoder_llama_cpp.py mix Q8.gguf FILE.gguf        makes Q4_K_M of it, llama.cpp's mixture of 4 to 6 bits
    python decoder_llama_cpp.py run FILE.gguf                measures once and prints one JSON object

Needs: gguf, numpy, llama-cpp-python built with CMAKE_ARGS=-DGGML_NATIVE=ON. The name of the file must not contain
"phi3": llama.cpp then asks for a token that this vocabulary lacks.
"""

from __future__ import annotations

import ctypes
import json
import sys
import time
from typing import Any

import numpy as np

LAYERS, WIDTH, HEADS, FFN, VOCABULARY, CONTEXT = 32, 3072, 32, 8192, 32064, 4096
POSITIONS, TOKENS, TEXTS, STEPS, THREADS = 290, 60, 8, 10, 2


def make(path: str, weights: str = "Q8_0") -> None:
    """Tensors are windows into one pool of quantized numbers: what is in them does not change the time."""
    import gguf

    writer = gguf.GGUFWriter(path, "phi3")
    writer.add_name("random")
    writer.add_context_length(CONTEXT)
    writer.add_rope_scaling_orig_ctx_len(CONTEXT)
    writer.add_embedding_length(WIDTH)
    writer.add_feed_forward_length(FFN)
    writer.add_block_count(LAYERS)
    writer.add_head_count(HEADS)
    writer.add_head_count_kv(HEADS)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_rope_dimension_count(WIDTH // HEADS)
    writer.add_rope_freq_base(10000.0)
    writer.add_sliding_window(2047)
    writer.add_file_type(gguf.LlamaFileType[f"MOSTLY_{weights}"])

    pieces = [b"<unk>", b"<s>", b"</s>"] + [b"<0x%02X>" % byte for byte in range(256)]
    types = [gguf.TokenType.UNKNOWN, gguf.TokenType.CONTROL, gguf.TokenType.CONTROL] + [gguf.TokenType.BYTE] * 256
    pieces += [f"\u2581w{index}".encode() for index in range(len(pieces), VOCABULARY)]
    types += [gguf.TokenType.NORMAL] * (VOCABULARY - len(types))
    writer.add_tokenizer_model("llama")
    writer.add_tokenizer_pre("default")
    writer.add_token_list(pieces)
    writer.add_token_scores([-float(index) for index in range(VOCABULARY)])
    writer.add_token_types(types)
    writer.add_bos_token_id(1)
    writer.add_eos_token_id(2)
    writer.add_unk_token_id(0)

    rng = np.random.default_rng(0)
    kind = gguf.GGMLQuantizationType[weights]
    group, group_bytes = gguf.GGML_QUANT_SIZES[kind]
    pool = gguf.quants.quantize(rng.standard_normal((40000, WIDTH), dtype=np.float32) * 0.02, kind)
    flat = pool.reshape(-1)

    def matrix(name: str, rows: int, columns: int) -> None:
        row_bytes = columns // group * group_bytes
        start = int(rng.integers(0, (flat.size - rows * row_bytes) // group_bytes)) * group_bytes
        writer.add_tensor(name, flat[start : start + rows * row_bytes].reshape(rows, row_bytes), raw_dtype=kind)

    norm = np.ones(WIDTH, np.float32)
    matrix("token_embd.weight", VOCABULARY, WIDTH)
    writer.add_tensor("output_norm.weight", norm)
    matrix("output.weight", VOCABULARY, WIDTH)
    for layer in range(LAYERS):
        block = f"blk.{layer}."
        writer.add_tensor(block + "attn_norm.weight", norm)
        matrix(block + "attn_qkv.weight", 3 * WIDTH, WIDTH)
        matrix(block + "attn_output.weight", WIDTH, WIDTH)
        writer.add_tensor(block + "ffn_norm.weight", norm)
        matrix(block + "ffn_up.weight", 2 * FFN, WIDTH)
        matrix(block + "ffn_down.weight", WIDTH, FFN)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def mix(source: str, path: str) -> None:
    import llama_cpp

    llama_cpp.llama_backend_init()
    parameters = llama_cpp.llama_model_quantize_default_params()
    parameters.ftype = llama_cpp.LLAMA_FTYPE_MOSTLY_Q4_K_M
    parameters.allow_requantize = True
    if llama_cpp.llama_model_quantize(source.encode(), path.encode(), parameters) != 0:
        raise SystemExit(f"llama.cpp cannot quantize {source}")


def run(path: str) -> dict[str, Any]:
    import llama_cpp

    llama_cpp.llama_backend_init()
    silent = llama_cpp.llama_log_callback(lambda level, text, data: None)
    llama_cpp.llama_log_set(silent, None)
    start = time.perf_counter()
    model = llama_cpp.llama_model_load_from_file(path.encode(), llama_cpp.llama_model_default_params())
    if not model:
        raise SystemExit(f"llama.cpp cannot load {path}")
    parameters = llama_cpp.llama_context_default_params()
    parameters.n_ctx = 512 * TEXTS
    parameters.n_seq_max = TEXTS
    parameters.kv_unified = True
    parameters.n_batch = parameters.n_ubatch = 512
    parameters.n_threads = parameters.n_threads_batch = THREADS
    context = llama_cpp.llama_init_from_model(model, parameters)
    load = time.perf_counter() - start
    description = ctypes.create_string_buffer(128)
    llama_cpp.llama_model_desc(model, description, len(description))
    form = "".join(description.value.decode().split()[2:])  # of "phi3 4B Q4_K - Medium"
    memory = llama_cpp.llama_get_memory(context)

    def read(tokens: list[int], positions: list[int], texts: list[int], logits: list[bool]) -> float:
        batch = llama_cpp.llama_batch_init(len(tokens), 0, 1)
        batch.n_tokens = len(tokens)
        for index in range(len(tokens)):
            batch.token[index] = tokens[index]
            batch.pos[index] = positions[index]
            batch.n_seq_id[index] = 1
            batch.seq_id[index][0] = texts[index]
            batch.logits[index] = logits[index]
        begin = time.perf_counter()
        status = llama_cpp.llama_decode(context, batch)
        llama_cpp.llama_synchronize(context)
        seconds = time.perf_counter() - begin
        llama_cpp.llama_batch_free(batch)
        if status != 0:
            raise RuntimeError(f"llama_decode returned {status}")
        return seconds

    def best(index: int) -> int:
        return int(np.ctypeslib.as_array(llama_cpp.llama_get_logits_ith(context, index), (VOCABULARY,)).argmax())

    def read_prompt() -> float:
        llama_cpp.llama_memory_clear(memory, True)
        last = [index == POSITIONS - 1 for index in range(POSITIONS)]
        return read(prompt, list(range(POSITIONS)), [0] * POSITIONS, last)

    prompt = [int(token) for token in np.random.default_rng(1).integers(300, 31000, POSITIONS)]
    read_prompt()  # the first run touches every weight for the first time
    prefill = read_prompt()
    decode, steps = [], []
    for index in range(TOKENS - 1):
        decode.append(read([best(-1)], [POSITIONS + index], [0], [True]))
    read_prompt()
    for text in range(1, TEXTS):
        llama_cpp.llama_memory_seq_cp(memory, 0, text, 0, POSITIONS)
    tokens = [best(-1) + text for text in range(TEXTS)]
    for index in range(STEPS + 1):
        steps.append(read(tokens, [POSITIONS + index] * TEXTS, list(range(TEXTS)), [True] * TEXTS))
        tokens = [best(text) for text in range(TEXTS)]
    return {
        "peer": f"llama.cpp (llama-cpp-python {llama_cpp.__version__}) {form}",
        "system": llama_cpp.llama_print_system_info().decode(),
        "stages": {
            "load": [load],
            f"prefill, {POSITIONS} positions": [prefill],
            "decode, batch 1": decode,
            f"step of {TEXTS} texts": steps[1:],
        },
    }


if __name__ == "__main__":
    if sys.argv[1] == "make":
        make(*sys.argv[2:])
    elif sys.argv[1] == "mix":
        mix(*sys.argv[2:])
    else:
        print(json.dumps(run(sys.argv[2])))
