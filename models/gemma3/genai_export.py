#!/usr/bin/env python3
"""Runs onnxruntime-genai's model builder on a Gemma 3 checkpoint; arguments are its own (-i, -o, -p, -e, …).

Why not `python -m onnxruntime_genai.models.builder`: the builder 0.18 starts only with transformers 5, whose
configuration keeps one RoPE description per kind of layer, while the builder still reads Gemma 3's from the flat fields
of transformers 4 and stops with KeyError 'rope_type'. This hands it the flat fields. Nothing else is changed.
"""

from __future__ import annotations

import runpy

from transformers import AutoConfig

_load = AutoConfig.from_pretrained


def load_with_flat_rope(*arguments, **options):
    config = _load(*arguments, **options)
    rope = getattr(config, "rope_parameters", None) or {}
    if {"full_attention", "sliding_attention"} <= rope.keys():
        config.rope_theta = rope["full_attention"]["rope_theta"]
        config.rope_local_base_freq = rope["sliding_attention"]["rope_theta"]
        config.rope_parameters = {"rope_type": rope["full_attention"]["rope_type"]}
    return config


if __name__ == "__main__":
    AutoConfig.from_pretrained = load_with_flat_rope
    runpy.run_module("onnxruntime_genai.models.builder", run_name="__main__")
