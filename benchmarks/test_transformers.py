"""What the commands cost on BERT-base and GPT-2 of random weights: processor seconds, seconds and peak memory.

Eight sentences of 64 tokens, each command in a process of its own, as a person would call it: ``diagnose``, a spectrum
by Lanczos (``--seconds 60``, its default, which is the time after which it stops) and a landscape of 5 x 5 points. Each
is told beside one gradient of the same batch. With ``--full`` BERT-base, about five minutes on two threads
(``-k GPT-2`` for the other), up to 14 GiB; a tiny model otherwise.
"""

from __future__ import annotations

import time
from pathlib import Path

import pytest

import vision
from child import Measured, here, in_child
from interleaved import show

FILE = """
import torch
from transformers import {config}, {model}

SIZE = {size}


def build():
    torch.manual_seed(0)
    return {model}({config}(**SIZE, **{dropout}))


def batches():
    torch.manual_seed(1)
    ids = torch.randint(1, SIZE["vocab_size"], ({rows}, {tokens}))
    mask = (torch.arange({tokens}) < torch.randint({tokens} // 2, {tokens} + 1, ({rows}, 1))).long()
    labels = {labels}
    return [dict(input_ids=ids * mask, attention_mask=mask, labels=labels)]
"""
MODELS = {
    "BERT-base": {
        "config": "BertConfig",
        "model": "BertForSequenceClassification",
        "dropout": {"hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0},
        "labels": "torch.arange(len(ids)) % 2",
        "full": {"vocab_size": 30522},
        "smoke": {
            "vocab_size": 20, "hidden_size": 8, "num_hidden_layers": 1, "num_attention_heads": 2,
            "intermediate_size": 12, "max_position_embeddings": 8,
        },
    },
    "GPT-2": {
        "config": "GPT2Config",
        "model": "GPT2LMHeadModel",
        "dropout": {"attn_pdrop": 0.0, "resid_pdrop": 0.0, "embd_pdrop": 0.0},
        "labels": "ids.masked_fill(mask == 0, -100)",
        "full": {"vocab_size": 50257},
        "smoke": {
            "vocab_size": 20, "n_positions": 8, "n_embd": 8, "n_layer": 1, "n_head": 2, "bos_token_id": 0,
            "eos_token_id": 0,
        },
    },
}  # fmt: skip
COMMANDS = {
    "diagnose": [],
    "spectrum": ["--method", "lanczos"],
    "landscape": ["--grid", "5", "--exact"],
}
QUICK = {"spectrum": ["--error", "2"]}
"""For tiny models."""


def gradient(file: str) -> dict[str, float]:
    """Parameters of the file's model, and seconds of one gradient after a first that does not count."""
    from nonsingular.cli.targets import Target

    vision.make_importable()
    target = Target(f"{file}:build")
    model, batch = target.build()[0], target.companion("batches")()[0]
    for _ in range(2):
        start, cpu = time.perf_counter(), time.process_time()
        model(**batch).loss.backward()
    return {
        "parameters": sum(p.numel() for p in model.parameters()),
        "cpu": time.process_time() - cpu,
        "seconds": time.perf_counter() - start,
    }


def command(name: str, arguments: list[str], file: str, out: str) -> float:
    """Processor seconds of one command."""
    from nonsingular import cli

    vision.make_importable()
    start = time.process_time()
    assert cli.run([name, f"{file}:build", *arguments, "--out", out, "--json"]) == 0
    return time.process_time() - start


@pytest.mark.parametrize("name", MODELS)
def test_what_the_commands_cost(name: str, request: pytest.FixtureRequest, full: bool, tmp_path: Path) -> None:
    vision.importorskip("transformers")
    if name != "BERT-base" and not (full and request.config.option.keyword):
        pytest.skip(f"one model shows that it works; --full -k {name} measures this one")
    how = MODELS[name]
    rows, tokens = (8, 64) if full else (4, 6)
    file = tmp_path / "model.py"
    size = how["full" if full else "smoke"]
    file.write_text(FILE.format(**{**how, "size": size, "rows": rows, "tokens": tokens}))
    measure = in_child if full else here
    one = measure(gradient, str(file))
    found: dict[str, Measured] = {}
    for what, arguments in COMMANDS.items():
        quick = [] if full else QUICK.get(what, [])
        found[what] = measure(command, what, [*arguments, *quick], str(file), str(tmp_path / what))
        assert list((tmp_path / what).glob("*.json"))
    with request.getfixturevalue("capsys").disabled():
        show(
            f"{name}, {one.result['parameters']:,} parameters, {rows} x {tokens} tokens",
            {"one gradient": _row(one, one.result["cpu"], one.result["seconds"])}
            | {what: _row(m, m.result, m.seconds) for what, m in found.items()},
        )


def _row(measured: Measured, cpu: float, seconds: float) -> str:
    return f"{cpu:7.1f} s of processor, {seconds:7.1f} s, {measured.peak:5.1f} GiB at most"
