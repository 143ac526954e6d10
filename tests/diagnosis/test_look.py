"""The look: what hooks see against the slow, obvious way; nothing of the user's changes."""

import copy
import math
import random
import subprocess
import sys

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn

import nonsingular as ns
from nonsingular import measures
from nonsingular.diagnosis import Budget, healthy, look
from nonsingular.diagnosis.bench.patients import next_token, tokens
from nonsingular.diagnosis.bench.zoo import GPT, Detached, Fixup, Recurrent, ResNet, ViT, mlp
from nonsingular.diagnosis.findings import TRIFLE, findings
from nonsingular.diagnosis.layers import layers, unit_weights
from nonsingular.diagnosis.statistics import statistics


def batch(*shape, classes=10, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(*shape, generator=generator), torch.randint(classes, shape[:1], generator=generator)


@pytest.fixture
def plain():
    torch.manual_seed(0)
    return mlp(12, 10, 3, 16)


def test_numbers_equal_those_of_a_pass_by_hand(plain):
    x, y = batch(40, 12)
    seen = look(plain, F.cross_entropy, [(x, y)])
    h, hidden = x, []
    for module in plain:
        h = module(h)
        h.retain_grad()
        hidden.append(h)
    F.cross_entropy(h, y).backward()
    gradients = [h.grad for h in hidden[::2]]
    hidden = [h.detach() for h in hidden]
    for layer, gradient, after in zip(seen.layers, gradients, [*hidden[1::2], hidden[-1]], strict=True):
        assert layer.signal == pytest.approx(float(after.square().mean().sqrt()), rel=1e-5)
        assert layer.spread == pytest.approx(float(after.var(0, correction=0).mean().sqrt()), rel=1e-5)
        gradient = float(measures.gradient_norm(len(x) * gradient))
        assert layer.gradient == pytest.approx(gradient, rel=1e-5)
        if layer.activation:
            assert layer.activation == "relu"
            assert layer.dead == pytest.approx(float(measures.dead_units(after)))
            assert layer.zero_response == pytest.approx(float(measures.zero_response(after)))
    assert seen.outputs.loss == pytest.approx(float(F.cross_entropy(h.detach(), y)), rel=1e-5)
    assert seen.outputs.accuracy == pytest.approx(float((h.argmax(1) == y).double().mean()))


def test_pieces_give_the_numbers_of_the_whole(plain):
    """Memory is bounded by cutting batches; without batch normalisation means over samples do not notice."""
    x, y = batch(64, 12)
    whole = look(plain, F.cross_entropy, [(x, y)])
    cut = look(plain, F.cross_entropy, [(x, y)], Budget(memory=whole.kept_bytes // 4))
    assert cut.piece < whole.piece == 64
    for a, b in zip(whole.layers, cut.layers, strict=True):
        assert a.signal == pytest.approx(b.signal, rel=1e-6)
        assert a.gradient == pytest.approx(b.gradient, rel=1e-4)
        assert a.dead == pytest.approx(b.dead, nan_ok=True)
        assert a.spread == pytest.approx(b.spread, rel=0.2)  # within pieces, whose means differ


def test_kept_bytes_do_not_count_the_rest_of_the_data(plain):
    x, y = batch(50_000, 12)
    assert look(plain, F.cross_entropy, [(x, y)], Budget(samples=64)).piece == 64


def test_convolutions_count_channels_and_functional_activations_are_seen():
    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv, self.head = nn.Conv2d(2, 6, 3), nn.Linear(6, 10)

        def forward(self, x):
            return self.head(F.relu(self.conv(x)).mean((2, 3)))

    model = Net()
    with torch.no_grad():
        model.conv.bias[:2] = -100.0
    [conv, head] = look(model, F.cross_entropy, [batch(20, 2, 6, 6)]).layers
    assert (conv.units, conv.activation, conv.dead) == (6, "relu", pytest.approx(2 / 6))
    assert (head.activation, math.isnan(head.dead)) == ("", True)


def test_in_place_activations_do_not_change_what_was_seen():
    def net(inplace):
        torch.manual_seed(0)
        return nn.Sequential(nn.Conv2d(1, 5, 3), nn.BatchNorm2d(5), nn.ReLU(inplace), nn.Flatten(), nn.Linear(20, 10))

    one, two = (look(net(flag), F.cross_entropy, [batch(20, 1, 4, 4)]).layers for flag in (False, True))
    assert [a.to_json() for a in one] == [b.to_json() for b in two]
    assert one[0].normalised


@pytest.mark.parametrize(
    ("build", "shape", "plain_layers"),
    [
        (lambda: mlp(12, 10, 4, 12), (8, 12), {"0", "2", "4", "6", "8"}),
        (lambda: ResNet(1), (8, 1, 8, 8), {"stem.0", "head"}),
        (lambda: ViT(2), (8, 1, 8, 8), {"patch", "head"}),
        (lambda: Fixup(1), (8, 1, 8, 8), {"stem", "head"}),
    ],
)
def test_layers_that_every_path_passes(build, shape, plain_layers):
    seen = look(build(), F.cross_entropy, [batch(*shape)])
    assert {layer.name for layer in seen.layers if layer.bypassed is False} == plain_layers


def test_names_are_those_of_named_modules_and_cover_all_kinds():
    model = nn.ModuleDict(
        {
            "a": nn.MultiheadAttention(8, 2),
            "l": nn.LSTM(3, 5),
            "e": nn.Embedding(4, 8),
            "c": nn.ConvTranspose2d(2, 4, 2),
            "n": nn.LayerNorm(8),
            "w": torch.nn.utils.parametrizations.weight_norm(nn.Linear(3, 4)),
        }
    )
    assert set(layers(model)) == {"a", "l", "c", "w"}
    assert unit_weights(model["l"], 5).shape == (5, 4 * 3 + 4 * 5)
    assert unit_weights(model["c"], 4).shape == (4, 2 * 4)
    assert torch.allclose(unit_weights(model["w"], 4), model["w"].weight)


def test_recurrent_attention_and_token_models_are_looked_at():
    [lstm, head] = look(Recurrent(), F.cross_entropy, [batch(12, 8, 8)]).layers
    assert (lstm.kind, lstm.units, head.units) == ("LSTM", 48, 10)
    assert lstm.eliminated == 0
    assert lstm.gradient > 0


def state_of(model):
    return (
        {k: v.clone() for k, v in model.state_dict().items()},
        [m.training for m in model.modules()],
        [(len(m._forward_hooks), len(m._forward_pre_hooks), len(m._backward_hooks)) for m in model.modules()],
        [p.requires_grad for p in model.parameters()],
        [None if p.grad is None else p.grad.clone() for p in model.parameters()],
        torch.get_rng_state(),
        random.getstate(),
        np.random.get_state()[1].copy(),  # noqa: NPY002
    )


def same(a, b):
    assert all(torch.equal(a[0][k], b[0][k]) for k in a[0])
    assert a[1:4] == b[1:4]
    assert all(x is y is None or torch.equal(x, y) for x, y in zip(a[4], b[4], strict=True))
    assert torch.equal(a[5], b[5])
    assert a[6] == b[6]
    assert (a[7] == b[7]).all()


class Noisy(nn.Module):
    """Uses every random state, dropout and running statistics, and fails when told to."""

    def __init__(self):
        super().__init__()
        self.first, self.norm = nn.Linear(12, 8), nn.BatchNorm1d(8)
        self.dropout, self.head = nn.Dropout(0.5), nn.Linear(8, 10)
        self.first.bias.requires_grad_(False)
        self.fail_in = 10**6

    def forward(self, x):
        random.random()
        np.random.rand()  # noqa: NPY002
        self.fail_in -= 1
        if self.fail_in < 0:
            raise RuntimeError("told to")
        return self.head(self.dropout(torch.relu(self.norm(self.first(x)))) + 0 * torch.randn(8))


@pytest.mark.parametrize("fail_in", [10**6, 0, 1])
def test_the_model_is_as_before_whatever_happens(fail_in):
    model = Noisy()
    model.norm.eval()
    F.cross_entropy(model.train()(batch(20, 12)[0]), batch(20, 12)[1]).backward()
    model.head.eval()
    model.fail_in = fail_in
    before = state_of(model)
    if fail_in < 10:
        with pytest.raises(ValueError, match="told to"):
            look(model, F.cross_entropy, [batch(20, 12)])
    else:
        look(model, F.cross_entropy, [batch(20, 12)])
    same(before, state_of(model))


def test_a_look_is_repeatable_and_dropout_is_off(plain):
    model = nn.Sequential(nn.Dropout(0.9), copy.deepcopy(plain))
    a, b = (look(m, F.cross_entropy, [batch(30, 12)]).layers for m in (model, nn.Sequential(nn.Identity(), plain)))
    assert [x.signal for x in a] == [x.signal for x in b]


def test_parameters_are_told_apart():
    model = Detached(8)
    model.head.bias.requires_grad_(False)
    seen = {p.name: p for p in look(model, F.cross_entropy, [batch(20, 64)]).parameters}
    assert seen["head.bias"].frozen
    assert seen["right.0.weight"].unused
    assert not seen["left.0.weight"].unused


@pytest.mark.parametrize("steps", [0, 60])
def test_frozen_layers_that_were_trained_before_are_known_by_their_biases(steps):
    """A few steps leave so few weights spread as they were drawn; what is frozen as it was drawn is told."""
    torch.manual_seed(0)
    features = nn.Sequential(nn.Conv2d(1, 8, 3), nn.ReLU(), nn.Conv2d(8, 8, 3), nn.ReLU(), nn.Flatten())
    model = nn.Sequential(features, nn.Linear(128, 10))
    optimiser, (x, y) = torch.optim.Adam(model.parameters(), 1e-2), batch(64, 1, 8, 8)
    for _ in range(steps):
        optimiser.zero_grad()
        F.cross_entropy(model(x), y).backward()
        optimiser.step()
    features.requires_grad_(False)
    model[1].reset_parameters()
    left = statistics(look(model, F.cross_entropy, [(x, y)]))["set-aside"].value
    assert left == 0 if steps else left > 0.3


def parts():
    torch.manual_seed(0)
    body = nn.Sequential(nn.Linear(12, 32), nn.ReLU(), nn.Linear(32, 32), nn.ReLU())
    return nn.Sequential(body, nn.Sequential(nn.Linear(32, 16), nn.ReLU(), nn.Linear(16, 10)))


@pytest.mark.parametrize(
    ("frozen", "mistake"),
    [
        (["0"], False),  # under a new readout
        (["0.0"], False),
        (["1"], False),  # a judge of what learns before it
        (["1.2"], True),
        (["0", "1.2"], True),
        (["0", "1.0"], False),
    ],
)
def test_frozen_parameters_are_a_remark_unless_the_readout_is_frozen_too(frozen, mistake):
    model = parts()
    for name in frozen:
        model.get_submodule(name).requires_grad_(False)
    numbers = statistics(look(model, F.cross_entropy, [batch(40, 12)]))
    told = {name: numbers[name].value for name in ("left-alone", "set-aside")}
    assert {name for name, value in told.items() if value > 0} == {"left-alone" if mistake else "set-aside"}
    assert mistake or all(
        f.severity < TRIFLE for f in findings(numbers, healthy.limits()) if f.kind == "untrained-parameters"
    )


def test_zero_weights_that_learn_are_not_eliminated():
    seen = look(Fixup(1), F.cross_entropy, [batch(16, 1, 8, 8)])
    assert not [layer.name for layer in seen.layers if layer.eliminated > 0]


def test_frame_and_json(plain):
    pd = pytest.importorskip("pandas")
    seen = look(plain, F.cross_entropy, [batch(30, 12)])
    frame = seen.frame()
    assert isinstance(frame, pd.DataFrame)
    assert list(frame.index) == ["0", "2", "4", "6"]
    assert frame.loc["2", "signal"] == seen.layers[1].signal
    assert seen.layers[3].to_json()["dead"] is None


def test_large_layers_are_sampled_and_twins_found_among_all_units():
    model = nn.Sequential(nn.Linear(32, 600), nn.ReLU(), nn.Linear(600, 10))
    with torch.no_grad():
        model[0].weight[599], model[0].bias[599] = model[0].weight[1], model[0].bias[1]
    seen = look(model, F.cross_entropy, [batch(30, 32)], Budget(units=16))
    assert seen.layers[0].twins == pytest.approx(2 / 600)
    assert seen.layers[0].effective_rank <= 16


def test_embeddings_count_as_what_a_skip_starts_from():
    seen = look(GPT(2), next_token, tokens(0, 8))
    assert {layer.name for layer in seen.layers if layer.bypassed is False} == {"head"}


def test_lazy_parameters_are_refused_in_a_line():
    with pytest.raises(ValueError, match="has no shape yet"):
        look(nn.Sequential(nn.LazyLinear(10)), F.cross_entropy, [batch(20, 12)])


def test_parameters_that_no_diagnosis_can_take_are_refused_in_a_line():
    for model, message in (
        (nn.Linear(20, 10, dtype=torch.complex64), "parameter weight is complex.*view_as_real"),
        (nn.Linear(20, 10, device="meta"), "weight is on the meta device"),
    ):
        with pytest.raises(ValueError, match=message):
            look(model, F.cross_entropy, [batch(20, 20)])


def test_layers_without_units_are_named():
    empty = nn.Sequential(nn.Linear(12, 0), nn.Linear(0, 10))
    with pytest.raises(ValueError, match=r"layer 0 \(Linear\) has no units, its output is of shape \(20, 0\)"):
        look(empty, F.cross_entropy, [batch(20, 12)])


def test_experts_that_no_sample_is_sent_to_are_passed_over():
    class Experts(nn.Module):
        def __init__(self):
            super().__init__()
            self.used, self.unused = nn.Linear(12, 10), nn.Linear(12, 10)

        def forward(self, x):
            return torch.cat([self.used(x), self.unused(x[:0])])

    assert [layer.name for layer in look(Experts(), F.cross_entropy, [batch(20, 12)]).layers] == ["used"]


def test_losses_that_do_not_fit_are_told_what_to_write():
    class Named(nn.Linear):
        def forward(self, x):
            return {"logits": super().forward(x)}

    x, classes = batch(20, 12)
    for model, loss, target, message in (
        (Named(12, 10), F.cross_entropy, classes, r'the model returns a dict: take output\["logits"\] in loss_fn'),
        (
            nn.Linear(12, 10),
            F.cross_entropy,
            classes.float(),
            r"are float32: if they are class .*target.long\(\)",
        ),
        (nn.Linear(12, 2), F.cross_entropy, classes > 3, r"are bool: if they are class numbers, give target.long\(\)"),
        (
            nn.Linear(12, 10),
            nn.CrossEntropyLoss(reduction="none"),
            classes,
            r"for \d+ samples, a number each .*mean\(\)",
        ),
    ):
        with pytest.raises(ValueError, match=message):
            look(model, loss, [(x, target)])
        with pytest.raises(ValueError, match=message):
            ns.Hessian(model, loss, [(x, target)])


def test_images_as_their_files_have_them_are_told_what_to_make_of_them():
    images, classes = torch.randint(256, (20, 12), dtype=torch.uint8), torch.arange(20) % 10
    with pytest.raises(ValueError, match="the inputs are uint8: give floating-point numbers"):
        look(nn.Linear(12, 10), F.cross_entropy, [(images, classes)])


def test_a_loss_that_returns_nothing_is_not_called_absent():
    with pytest.raises(ValueError, match="loss_fn returns None: let it return the loss"):
        look(nn.Linear(12, 10), lambda output, target: None, [batch(20, 12)])


def test_bert_of_transformers_with_dictionaries_and_sampled_units():
    try:
        from transformers import BertConfig, BertForSequenceClassification
    except (ImportError, RuntimeError) as reason:  # RuntimeError: a torchvision that does not fit torch
        pytest.skip(f"transformers does not import: {reason}")
    torch.manual_seed(0)
    config = BertConfig(
        vocab_size=100, hidden_size=32, num_hidden_layers=3, num_attention_heads=4, intermediate_size=64,
        max_position_embeddings=16,
    )  # fmt: skip
    model = BertForSequenceClassification(config)
    words, y = torch.randint(100, (24, 12)), torch.randint(2, (24,))
    pairs = [({"input_ids": words, "attention_mask": torch.ones_like(words)}, y)]
    found = ns.diagnose(model, lambda out, y: F.cross_entropy(out.logits, y), pairs, budget=Budget(units=16))
    assert [f.kind for f in found.findings] == []
    assert len(found.layers) == 3 * 6 + 2  # query, key, value, output, two of the feed-forward part; pooler, classifier
    assert {layer.name for layer in found.layers if layer.bypassed is False} == {"bert.pooler.dense", "classifier"}
    assert found.look.outputs.task == "classifier"
    assert all(layer.effective_rank <= 16 for layer in found.layers)


def test_spectral_normalisation_is_not_moved_by_looking():
    """In train mode every reading of the weight is an iteration."""
    normed = nn.utils.parametrizations.spectral_norm(nn.Linear(4, 4))
    model = nn.Sequential(normed, nn.ReLU(), nn.Linear(4, 3))
    before = copy.deepcopy(model.state_dict())
    ns.diagnose(model, F.cross_entropy, [batch(8, 4, classes=3)], curvature=False)
    for name, value in model.state_dict().items():
        assert torch.equal(value, before[name]), name


def test_batches_of_other_lengths_are_looked_at():
    """Time first: the samples are the second axis of the inputs, whose last batch has fewer."""

    class TimeFirst(nn.Module):
        def __init__(self):
            super().__init__()
            self.cell, self.out = nn.GRU(2, 3), nn.Linear(3, 4)

        def forward(self, x):
            return self.out(self.cell(x)[0][-1])

    batches = [(torch.randn(4, n, 2), torch.randint(0, 4, (4,))) for n in (4, 2)]

    def loss(output, target):
        return F.cross_entropy(output, target[: len(output)])

    assert ns.diagnose(TimeFirst(), loss, batches).look.samples == 8


def test_a_first_layer_in_place_leaves_the_data_alone():
    x, y = batch(8, 4, classes=3)
    given = x.clone()
    model = nn.Sequential(nn.ELU(inplace=True), nn.Linear(4, 3))
    apart = nn.Sequential(nn.ELU(), model[1])
    found = ns.diagnose(model, F.cross_entropy, [(x, y)])
    assert torch.equal(x, given)
    assert found.look.outputs.loss == pytest.approx(ns.diagnose(apart, F.cross_entropy, [(given, y)]).look.outputs.loss)


def test_an_orthogonal_weight_may_have_a_broken_gradient():
    """Its buffers are put back only when the gradient has been followed."""
    model = nn.Sequential(nn.utils.parametrizations.orthogonal(nn.Linear(4, 4)), nn.Linear(4, 3))

    def loss(output, target):
        return F.cross_entropy(output, target) + (output - output.detach()).square().sum().sqrt()

    found = ns.diagnose(model, loss, [batch(8, 4, classes=3)])
    assert found.findings[0].kind == "nan-gradient"


def test_a_look_loads_no_more_than_it_needs(tmp_path):
    """PyTorch's compiler, SciPy, matplotlib and the stores of studies take two seconds to load."""
    code = (
        "import sys, torch, nonsingular as ns; from torch import nn; torch.set_num_threads(1)\n"
        "net = nn.Sequential(nn.Linear(4, 3), nn.ReLU(), nn.Linear(3, 2))\n"
        "found = ns.diagnose(net, nn.CrossEntropyLoss(), [(torch.randn(30, 4), torch.arange(30) % 2)])\n"
        "assert found.look.spectrum.method == 'exact' and found.report('report.html').exists()\n"
        "heavy = 'torch._dynamo sympy scipy xarray pandas matplotlib nonsingular.diagnosis.bench'.split()\n"
        "print([m for m in heavy if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120, cwd=tmp_path)
    assert done.stdout.strip() == "[]", done.stderr
