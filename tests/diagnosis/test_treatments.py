"""Each treatment changes a copy, keeps what it does not touch, and says what it did."""

import contextlib
import copy
import math
import re

import pytest
import torch
from torch import nn

import nonsingular as ns
from nonsingular import treatments
from nonsingular.diagnosis.bench import zoo
from nonsingular.diagnosis.patches import called
from nonsingular.diagnosis.programs import TREATMENTS
from nonsingular.diagnosis.rules import RULES
from nonsingular.diagnosis.surgery import Skip, blocks
from nonsingular.errors import InputError
from nonsingular.measures import incoming_norm
from nonsingular.networks import FullyConnected

X = torch.randn(32, 16, generator=torch.Generator().manual_seed(0))


@pytest.fixture
def plain():
    torch.manual_seed(0)
    return zoo.mlp(16, 4, 6, 16)


def tensors(model):
    return {k: v.clone() for k, v in model.state_dict().items()}


@pytest.mark.parametrize("name", list(treatments.PRESCRIPTIONS))
def test_the_given_model_is_not_touched(plain, name):
    before, text = tensors(plain), repr(plain)
    try:
        treated = treatments.PRESCRIPTIONS[name](plain, X, 0)
    except InputError:
        treated = None
    assert repr(plain) == text
    assert all(torch.equal(before[k], v) for k, v in plain.state_dict().items())
    if treated is not None:
        assert treated.what
        own = {p.data_ptr() for p in plain.parameters()}
        assert not own & {p.data_ptr() for p in treated.model.parameters()}
        assert treated.model(X).shape == (32, 4)


def test_skips_compute_what_they_say(plain):
    treated = treatments.add_skips(plain, X, scale=1.0)
    assert treated.layers == ("0", "2", "4", "6", "8", "10")
    h = X
    for module in list(plain)[:-1]:
        h = h + module(h) if isinstance(module, nn.Linear) else module(h)
    assert torch.allclose(treated.model(X), plain[-1](h), atol=1e-6)
    scaled = treatments.add_skips(plain, X).model
    assert torch.allclose(scaled[0](X), X + plain[0](X) / math.sqrt(6), atol=1e-6)


def test_orthogonal_skips_keep_norms_where_the_branch_is_zero(plain):
    with torch.no_grad():
        for p in plain[0].parameters():
            p.zero_()
    skipped = treatments.add_skips(plain, X, kind="orthogonal").model[0](X)
    assert torch.allclose(skipped.norm(dim=1), X.norm(dim=1), rtol=1e-4)
    assert not torch.allclose(skipped, X, atol=0.1)


def test_orthogonal_skips_of_images_mix_channels_not_places():
    torch.manual_seed(0)
    x = torch.randn(4, 6, 5, 5)
    skip = Skip(nn.Conv2d(6, 6, 3, padding=1), 0.0, torch.linalg.qr(torch.randn(6, 6))[0], axis=1)
    assert torch.allclose(skip(x)[:, :, 2, 3], x[:, :, 2, 3] @ skip.matrix.T, atol=1e-6)


@pytest.mark.parametrize(
    ("build", "shape", "names"),
    [
        (lambda: zoo.ViT(3, skip=False), (4, 1, 8, 8), ("blocks.0", "blocks.1", "blocks.2")),
        (lambda: zoo.NoSkip(2), (4, 1, 8, 8), ("attention.0", "attention.1", "layers_.0", "layers_.1")),
        (lambda: zoo.plain_conv(4), (4, 1, 8, 8), ("2", "4", "6")),
    ],
)
def test_skips_go_around_whole_blocks(build, shape, names):
    model = build()
    treated = treatments.add_skips(model, torch.randn(*shape))
    assert treated.layers == names
    assert treated.model(torch.randn(*shape)).shape == (4, 10)


@pytest.mark.parametrize("build", [lambda: zoo.ResNet(2), lambda: zoo.ViT(2), lambda: zoo.Fixup(1)])
def test_no_second_skip_around_what_has_one(build):
    model, x = build(), torch.randn(4, 1, 8, 8)
    assert all(block.bypassed for block in blocks(model, x))
    with pytest.raises(InputError, match="no block"):
        treatments.add_skips(model, x)


def test_reinitialise_draws_anew_and_keeps_the_readout(plain):
    treated = treatments.reinitialise(plain, how="he", seed=1).model
    assert torch.equal(treated[-1].weight, plain[-1].weight)
    assert not torch.equal(treated[0].weight, plain[0].weight)
    assert not treated[2].bias.any()
    wide = treatments.reinitialise(nn.Sequential(nn.Linear(500, 400), nn.ReLU(), nn.Linear(400, 2)))
    assert float(wide.model[0].weight.detach().std()) == pytest.approx((2 / 500) ** 0.5, rel=0.02)
    assert torch.equal(treatments.reinitialise(plain, seed=1).model[0].weight, treated[0].weight)
    only = treatments.reinitialise(plain, only=["4"]).model
    assert [n for n, p in only.named_parameters() if not torch.equal(p, dict(plain.named_parameters())[n])] == [
        "4.weight", "4.bias",
    ]  # fmt: skip


def test_reinitialise_knows_delta_orthogonal():
    treated = treatments.reinitialise(zoo.plain_conv(3), how="delta-orthogonal").model
    centre = treated[2].weight[:, :, 1, 1]
    assert torch.allclose(centre @ centre.T, torch.eye(16), atol=1e-5)


def test_revive_draws_only_what_is_gone(plain):
    with torch.no_grad():
        plain[2].weight[3] = plain[2].bias[3] = 0
    treated = treatments.revive_units(plain).model
    assert incoming_norm(treated[2].weight)[3] > 0.1
    others = torch.arange(16) != 3
    assert torch.equal(treated[2].weight[others], plain[2].weight[others])
    with pytest.raises(InputError, match="none to revive"):
        treatments.revive_units(treated)


def test_normalisation_is_inserted_once_and_named_layers_keep_their_weights(plain):
    treated = treatments.insert_normalisation(plain, kind="batch").model
    assert float(treated[0](X).detach().std(0).mean()) == pytest.approx(1, rel=0.05)
    assert torch.equal(treated[0].weight, plain[0].weight)  # handed on by the wrapper
    with pytest.raises(InputError, match="normalised already"):
        treatments.insert_normalisation(zoo.mlp_norm(3, 8))


def test_rescaled_inputs_are_standard(plain):
    seen = []
    treated = treatments.rescale_input(plain, 40 * X + 7).model
    treated.model[0].register_forward_pre_hook(lambda m, args: seen.append(args[0]))
    treated(40 * X + 7)
    assert torch.allclose(seen[0].mean(0), torch.zeros(16), atol=1e-4)
    assert torch.allclose(seen[0].std(0, correction=0), torch.ones(16), atol=1e-4)
    with pytest.raises(InputError, match="one floating-point tensor"):
        treatments.rescale_input(plain, torch.zeros(3, 4, dtype=torch.long))


def test_constant_inputs_are_not_blown_up(plain):
    x = X.clone()
    x[:, 5] = 3.0
    treated = treatments.rescale_input(plain, x).model
    assert torch.isfinite(treated(x)).all()
    assert float(((x - treated.mean) / treated.deviation)[:, 5].abs().max()) < 1e-3


def test_broken_symmetry_makes_units_different():
    model = zoo.constant(zoo.mlp(16, 4, 2, 8))
    treated = treatments.break_symmetry(model, noise=0.5).model
    weight = treated[0].weight
    assert torch.pdist(weight).min() > 0.1 * weight.norm(dim=1).mean()
    assert float((weight - model[0].weight).detach().std()) == pytest.approx(0.5 / 16, rel=0.3)


def test_shrunken_branches_and_zero_readout():
    model, x = zoo.ResidualMLP(16, 4, 4, 8), X
    treated = treatments.shrink_branches(model, x)
    assert treated.layers == tuple(f"blocks.{i}.3" for i in range(4))
    assert torch.allclose(treated.model.blocks[0][3].weight, model.blocks[0][3].weight / 2)
    assert not treatments.zero_readout(model).model(x).any()


def test_warm_start_takes_what_fits_by_name_then_by_shape():
    torch.manual_seed(0)
    donor, model = zoo.mlp(16, 4, 2, 16), zoo.mlp(16, 4, 4, 16)
    treated = treatments.warm_start(model, donor).model
    assert torch.equal(treated[0].weight, donor[0].weight)
    assert torch.equal(treated[2].weight, donor[2].weight)
    assert torch.equal(treated[8].weight, donor[4].weight)  # the readout, under another name
    assert torch.equal(treated[4].weight, model[4].weight)
    with pytest.raises(InputError, match="shape"):
        treatments.warm_start(model, {"x": torch.zeros(1, 1)})


def test_unfreeze_and_reset(plain):
    frozen = zoo.frozen(copy.deepcopy(plain))
    assert all(p.requires_grad for p in treatments.unfreeze(frozen).model.parameters())
    assert not any(p.requires_grad for p in frozen[2].parameters())
    reset = treatments.reset_biases(plain).model
    assert not any(m.bias.any() for m in reset[:-1] if isinstance(m, nn.Linear))
    assert torch.equal(reset[-1].bias, plain[-1].bias)


def test_bias_targets_and_their_penalty(plain):
    treated = treatments.bias_targets(plain, mean=2.0, deviation=0.0).model
    assert treated[0].bias.unique().numel() == 1
    assert float(treatments.bias_penalty(treated, treated)) == 0
    assert float(treatments.bias_penalty(plain, treated)) > 0


def test_treatments_of_the_projects_own_networks():
    model = FullyConnected(16, 4, depth=5, width=16)
    assert treatments.add_skips(model, X).model(X).shape == (32, 4)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda m: treatments.add_skips(m, X, kind="dense"), "identity, orthogonal"),
        (lambda m: treatments.add_skips(m, torch.randn(3, 5)), "does not take"),
        (lambda m: treatments.insert_normalisation(m, kind="weight"), "batch, layer"),
        (lambda m: treatments.reinitialise(m, how="magic"), "unknown initialisation"),
        (lambda m: treatments.unfreeze(m), "no parameter is frozen"),
    ],
)
def test_bad_input_is_one_line(plain, call, message):
    with pytest.raises(InputError, match=message) as error:
        call(plain)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("wrap", [nn.utils.parametrizations.weight_norm, nn.utils.parametrizations.spectral_norm])
def test_parametrised_layers_are_normalised_like_others(wrap):
    model = nn.Sequential(wrap(nn.Linear(4, 5)), nn.ReLU(), nn.Linear(5, 5), nn.BatchNorm1d(5), nn.Linear(5, 3))
    assert treatments.insert_normalisation(model).layers == ("0",)


def test_embeddings_shrink_and_padding_stays_zero():
    model = nn.Sequential(nn.Embedding(200, 16, padding_idx=0), nn.Flatten(), nn.Linear(64, 2))
    treated = treatments.shrink_embeddings(model)
    table = treated.model[0].weight
    assert treated.layers == ("0",)
    assert float(table[1:].detach().std()) == pytest.approx(0.02, rel=0.1)
    assert not table[0].any()
    assert torch.equal(treated.model[2].weight, model[2].weight)
    with pytest.raises(InputError, match="no embeddings"):
        treatments.shrink_embeddings(treated.model)


def test_sigmoids_between_layers_are_replaced_and_those_that_end_in_gates_or_outputs_stay():
    class Gated(nn.Module):
        def __init__(self):
            super().__init__()
            self.gate = nn.Sequential(nn.Linear(6, 6), nn.Sigmoid(), nn.Linear(6, 6), nn.Sigmoid())

        def forward(self, x):
            return x * self.gate(x)

    block = nn.Sequential(nn.Linear(6, 6), nn.Sigmoid())

    class Squeezed(nn.Sequential):
        def forward(self, x):
            return x * super().forward(x)

    gates = Gated(), Squeezed(nn.Linear(6, 6), nn.Sigmoid())
    model = nn.Sequential(nn.Linear(4, 6), nn.Sigmoid(), block, *gates, nn.Linear(6, 1), nn.Sigmoid())
    treated = treatments.replace_sigmoids(model)
    assert treated.layers == ("1", "2.1", "3.gate.1")
    assert [n for n, m in treated.model.named_modules() if isinstance(m, nn.Sigmoid)] == ["3.gate.3", "4.1", "6"]
    assert not any(isinstance(m, nn.ReLU) for m in model.modules())
    with pytest.raises(InputError, match=r"no nn\.Sigmoid"):
        treatments.replace_sigmoids(treated.model)


def test_treatments_are_all_called_in_one_way_and_named_only_where_they_exist(plain):
    named = {t for rule in RULES for t in rule.treatments} | set(TREATMENTS)
    assert named == set(TREATMENTS)  # what a finding advises can be tried
    for name in named:
        exists = hasattr(treatments, name)
        assert called(name) == (f"ns.treatments.{name}" if exists else name)
        if exists:
            with contextlib.suppress(InputError):  # it does not apply to this network
                assert isinstance(getattr(treatments, name)(plain, X), treatments.Treated)


@pytest.mark.parametrize(
    "name", sorted(set(treatments.PRESCRIPTIONS) - {"rescale_input", "add_skips", "shrink_branches"})
)
def test_a_setting_in_the_place_of_the_batch_is_refused(plain, name):
    with pytest.raises(InputError, match="settings are given by name"):
        getattr(treatments, name)(plain, "he")


@pytest.mark.parametrize("given", [torch.randn(9, 3, 40), torch.randn(9, 3, requires_grad=True)])
def test_no_message_prints_the_numbers_of_a_tensor(plain, given):
    for call in (
        lambda: treatments.insert_normalisation(plain, kind=given),
        lambda: treatments.add_skips(plain, X, kind=given),
        lambda: treatments.insert_normalisation(plain, kind=[given, given]),
        lambda: treatments.insert_normalisation(plain, kind=[given.detach().numpy()]),
        lambda: ns.Monitor(plain, on_finding=given),
    ):
        with pytest.raises(InputError) as error:
            call()
        assert len(str(error.value)) < 200
        assert "\n" not in str(error.value)
        assert not re.search(r"\d\.\d", str(error.value))


def test_one_sigmoid_in_many_places_is_replaced_where_layers_follow():
    shared = nn.Sigmoid()
    model = nn.Sequential(nn.Linear(4, 6), shared, nn.Linear(6, 6), shared, nn.Linear(6, 1), shared)
    treated = treatments.replace_sigmoids(model)
    assert treated.layers == ("1", "3")
    assert [type(m) for m in treated.model][1::2] == [nn.ReLU, nn.ReLU, nn.Sigmoid]


def test_a_stack_of_sigmoids_is_named_and_their_replacement_comes_first():
    torch.manual_seed(0)

    def stack(activation):
        return nn.Sequential(*(m for _ in range(8) for m in (nn.Linear(16, 16), activation())), nn.Linear(16, 4))

    batch = torch.randn(128, 16), torch.randint(4, (128,))
    first = ns.diagnose(stack(nn.Sigmoid), nn.functional.cross_entropy, [batch]).findings[0]
    assert first.kind == "vanishing-signal"
    assert first.treatments[0] == "replace_sigmoids"
    assert "8 of 8 hidden layers end in a sigmoid" in first.remark
    tanh = ns.diagnose(stack(nn.Tanh), nn.functional.cross_entropy, [batch]).findings
    assert not any("sigmoid" in f.remark for f in tanh)
