"""Every operation of language models on the fast way: recorded, stacked, and equal to dense double backward."""

import warnings

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from nonsingular.curvature import GaussNewton, Hessian, PopulationHessian

TOKENS, POSITIONS, CLASSES = 11, 5, 3


def double_backward(model, loss):
    """The Hessian row by row, by automatic differentiation twice backwards."""
    params = list(model.parameters())
    with torch.nn.attention.sdpa_kernel(torch.nn.attention.SDPBackend.MATH):
        gradients = torch.autograd.grad(loss(), params, create_graph=True, materialize_grads=True)
        flat = torch.cat([g.flatten() for g in gradients])
        rows = [torch.autograd.grad(g, params, retain_graph=True, materialize_grads=True) for g in flat]
    return torch.stack([torch.cat([r.flatten() for r in row]) for row in rows]).detach()


class Logits(nn.Module):
    def __init__(self, model):
        super().__init__()
        self.model = model

    def forward(self, ids):
        return self.model(input_ids=ids, attention_mask=(ids != 0).long()).logits


def bert():
    transformers = pytest.importorskip("transformers")
    config = transformers.BertConfig(
        vocab_size=TOKENS, hidden_size=4, num_hidden_layers=1, num_attention_heads=2, intermediate_size=6,
        max_position_embeddings=POSITIONS, num_labels=CLASSES, hidden_dropout_prob=0, attention_probs_dropout_prob=0,
    )  # fmt: skip
    return Logits(transformers.BertForSequenceClassification(config)), F.cross_entropy


def gpt2():
    transformers = pytest.importorskip("transformers")
    config = transformers.GPT2Config(
        vocab_size=TOKENS, n_embd=4, n_layer=1, n_head=2, n_positions=POSITIONS, bos_token_id=0, eos_token_id=0,
        resid_pdrop=0, embd_pdrop=0, attn_pdrop=0,
    )  # fmt: skip

    def next_token(logits, labels):
        return F.cross_entropy(logits[:, :-1].flatten(0, 1), labels.flatten())

    return Logits(transformers.GPT2LMHeadModel(config)), next_token


def padded():
    layers = nn.Embedding(TOKENS, 3, padding_idx=0), nn.Flatten(), nn.Linear(3 * POSITIONS, CLASSES)
    return nn.Sequential(*layers), F.cross_entropy


def padded_last_and_normalised():
    layers = nn.Embedding(TOKENS, 3, padding_idx=-TOKENS, sparse=True), nn.LayerNorm(3), nn.Flatten()
    return nn.Sequential(*layers, nn.Linear(3 * POSITIONS, CLASSES)), F.cross_entropy


class TiedPadded(nn.Module):
    """The padding entry is read as an output weight as well: constant in one place only."""

    def __init__(self):
        super().__init__()
        self.tokens = nn.Embedding(TOKENS, 3, padding_idx=0)
        self.mix = nn.Linear(3, 3)

    def forward(self, ids):
        return F.linear(torch.tanh(self.mix(self.tokens(ids).mean(1))), self.tokens.weight)


MODELS = {
    "bert": bert,
    "gpt2": gpt2,
    "padding": padded,
    "negative padding, sparse, layer norm": padded_last_and_normalised,
    "padding, tied": lambda: (TiedPadded(), F.cross_entropy),
}


def built(name):
    torch.manual_seed(0)
    model, loss_fn = MODELS[name]()
    model = model.double().eval()
    with torch.no_grad():
        for p in model.parameters():
            p.normal_(std=0.5)  # the padding entries too, which start at zero
    ids = torch.randint(TOKENS, (4, POSITIONS))
    ids[:, 3:] = 0
    return model, loss_fn, [(ids, ids[:, 1:] if name == "gpt2" else torch.randint(CLASSES, (4,)))]


@pytest.mark.parametrize("name", MODELS)
def test_recorded_products_equal_double_backward(name):
    model, loss_fn, batches = built(name)
    (ids, y), *_ = batches
    H = Hessian(model, loss_fn, batches)
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)
        matrix = H.dense()
        assert H.linearised
    if name.startswith("negative"):  # PyTorch cannot differentiate sparse gradients
        model[0].sparse = False
    expected = double_backward(model, lambda: loss_fn(model(ids), y))
    torch.testing.assert_close(matrix, expected, rtol=1e-8, atol=1e-10)
    v = torch.randn(H.shape[0], dtype=torch.float64)
    torch.testing.assert_close(H @ v, expected @ v, rtol=1e-8, atol=1e-10)


@pytest.mark.parametrize("name", ["bert", "padding, tied"])
def test_gauss_newton_agrees_with_plain_differentiation(name):
    G = GaussNewton(*built(name))
    v = torch.randn(G.shape[0], dtype=torch.float64)
    assert G.linearised
    torch.testing.assert_close(G @ v, G.recomputed_product(v))
    if name != "bert":
        assert (G @ v)[:3].norm() > 0  # the padding entry, as an output weight


def test_populations_hold_padding_constant_too():
    models = [built("padding")[0] for _ in range(2)]
    _, loss_fn, batches = built("padding")
    stacked = torch.func.stack_module_state(models)[0]
    P = PopulationHessian(models[0], stacked, loss_fn, batches)
    V = torch.randn(2, P.shape[1], dtype=torch.float64)
    assert P.linearised
    torch.testing.assert_close((P @ V)[1], Hessian(models[1], loss_fn, batches) @ V[1])
