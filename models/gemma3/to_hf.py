#!/usr/bin/env python3
"""Writes a Gemma 3 GGUF as a Hugging Face checkpoint, from which other exporters make their ONNX offline.

    to_hf.py --output DIR [--gguf FILE]

DIR gets config.json, model.safetensors (f32) and the tokenizer. Needs `numpy` and `gguf` (and `onnx`, through the
graph's description); torch and transformers are needed only by whoever loads the folder. Streams like export.py.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

from decoder_graph import DecoderConfig, Weight, all_weights
from export import (SPARE_BYTES, add_source_arguments, open_source, publish, require_space, run, workspace,
                    write_tokenizer)
from gguf_source import stored_shape
from progress import Progress

WEIGHTS_FILE = "model.safetensors"
OUTPUT_FILES = (WEIGHTS_FILE, "tokenizer.model", "tokenizer_config.json", "generation_config.json", "config.json")


def hf_name(weight: Weight) -> str:
    return weight.name.replace(".MatMul.", ".")


def is_norm(weight: Weight) -> bool:
    return len(weight.shape) == 1


def safetensors_header(weights: list[Weight]) -> bytes:
    """Length (u64) and JSON: name -> dtype, shape and byte range of each tensor; padded to 8 bytes."""
    entries, end = {"__metadata__": {"format": "pt"}}, 0
    for weight in weights:
        entries[hf_name(weight)] = {"dtype": "F32", "shape": list(stored_shape(weight)),
                                    "data_offsets": [end, end + weight.size_bytes]}
        end += weight.size_bytes
    text = json.dumps(entries).encode()
    text += b" " * (-len(text) % 8)
    return len(text).to_bytes(8, "little") + text


def write_weights(model, path: Path) -> None:
    weights = all_weights(model.config)
    size = sum(weight.size_bytes for weight in weights)
    require_space(path.parent, size + SPARE_BYTES)
    with open(path, "wb") as out, Progress("weights", size) as progress:
        out.write(safetensors_header(weights))
        for weight in weights:
            for block in model.stored_blocks(weight):
                if is_norm(weight):
                    block = block - 1  # Hugging Face's Gemma adds the 1 when it runs
                out.write(block.data)
                progress.advance(block.nbytes)
                model.forget_pages()


def config_json(config: DecoderConfig, ids) -> dict:
    kinds = ["full_attention" if config.is_global(layer) else "sliding_attention" for layer in range(config.layers)]
    return {
        "architectures": ["Gemma3ForCausalLM"], "model_type": "gemma3_text", "dtype": "float32",
        "hidden_size": config.hidden, "intermediate_size": config.feed_forward, "head_dim": config.head_size,
        "num_hidden_layers": config.layers, "num_attention_heads": config.heads,
        "num_key_value_heads": config.kv_heads, "vocab_size": config.vocabulary,
        "query_pre_attn_scalar": config.head_size, "rms_norm_eps": config.rms_epsilon,
        "rope_theta": config.global_rope_base, "rope_local_base_freq": config.local_rope_base, "rope_scaling": None,
        "sliding_window": config.window, "_sliding_window_pattern": config.global_every, "layer_types": kinds,
        "max_position_embeddings": config.context_length, "hidden_activation": "gelu_pytorch_tanh",
        "attention_bias": False, "attention_dropout": 0.0, "attn_logit_softcapping": None,
        "final_logit_softcapping": None, "use_bidirectional_attention": False, "use_cache": True,
        "tie_word_embeddings": True, "bos_token_id": ids.bos, "eos_token_id": ids.eos, "pad_token_id": ids.pad}


def write_json(path: Path, value: dict) -> None:
    path.write_text(json.dumps(value, indent=2, sort_keys=True) + "\n")


def write_checkpoint(model, folder: Path) -> None:
    write_weights(model, folder / WEIGHTS_FILE)
    write_tokenizer(model, folder)
    ids = model.special_ids()
    write_json(folder / "generation_config.json",
               {"bos_token_id": ids.bos, "eos_token_id": ids.eos, "pad_token_id": ids.pad})
    write_json(folder / "tokenizer_config.json", {
        "tokenizer_class": "GemmaTokenizer", "add_bos_token": model.add_bos(), "add_eos_token": False,
        "bos_token": "<bos>", "eos_token": "<eos>", "pad_token": "<pad>", "unk_token": "<unk>",
        "clean_up_tokenization_spaces": False, "spaces_between_special_tokens": False})
    write_json(folder / "config.json", config_json(model.config, ids))


def convert(arguments: argparse.Namespace) -> None:
    with workspace(arguments.output) as folder:
        with open_source(arguments, folder) as model:
            write_checkpoint(model, folder)
        publish(folder, arguments.output, OUTPUT_FILES)


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_source_arguments(parser)
    arguments = parser.parse_args(argv)
    return run("to_hf", convert, arguments)


if __name__ == "__main__":
    sys.exit(main())
