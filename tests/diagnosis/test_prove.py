"""The proof: what helps is said to help, what does not is withdrawn, and stopped proofs go on."""

import copy
import math

import pytest
import torch
import torch.nn.functional as F
from torch import nn

import nonsingular as ns
from nonsingular.diagnosis import Kept, Protocol, plan, prove
from nonsingular.diagnosis.bench import zoo
from nonsingular.diagnosis.bench.patients import flat
from nonsingular.diagnosis.prove import compare
from nonsingular.diagnosis.treatments import Treated
from nonsingular.errors import InputError
from nonsingular.plots import diagnosis as plots

QUICK = Protocol(steps=25, seeds=3, batch=32)
DATA = flat(0, 400)


def deep(seed):
    torch.manual_seed(seed)
    return zoo.glorot(zoo.mlp(64, 10, 16, 24))


def keep(model, inputs, seed):
    return Treated(copy.deepcopy(model), "nothing", ())


def ruin(model, inputs, seed):
    treated = copy.deepcopy(model)
    with torch.no_grad():
        for p in treated[0].parameters():
            p.zero_()
    return Treated(treated, "the first layer set to zero", ())


def diverge(model, inputs, seed):
    treated = copy.deepcopy(model)
    with torch.no_grad():
        treated[0].weight.mul_(1e38)
    return Treated(treated, "too large", ())


def test_skips_help_a_deep_plain_network():
    proof = prove(deep, F.cross_entropy, DATA, ["add_skips"], QUICK)
    [trial] = proof.trials
    assert trial.verdict == "helps"
    assert proof.helps("add_skips")
    assert trial.effect.high < 0
    assert trial.accuracy.value > 0
    assert len(proof.untreated.loss) == len(trial.treated.loss) == 3


def test_no_treatment_is_no_difference_to_the_bit():
    """The copies see the same batches in the same order: an untouched copy ends with the same numbers."""
    proof = prove(lambda seed: zoo.mlp(64, 10, 2, 16), F.cross_entropy, DATA, {"keep": keep}, QUICK)
    fixed = prove(zoo.mlp(64, 10, 2, 16), F.cross_entropy, DATA, {"keep": keep}, QUICK)
    for p in (proof, fixed):
        assert p.trials[0].treated == p.untreated or all(map(math.isnan, p.untreated.accuracy))
        assert p.trials[0].verdict == "no difference"


def test_harm_is_called_harm():
    proof = prove(lambda seed: zoo.mlp(64, 10, 2, 32), F.cross_entropy, DATA, {"ruin": ruin, "diverge": diverge}, QUICK)
    assert [t.verdict for t in proof.trials] == ["hurts", "hurts"]


def test_what_does_not_apply_says_why():
    proof = prove(lambda seed: zoo.mlp(64, 10, 2, 16), F.cross_entropy, DATA, ["unfreeze"], QUICK)
    assert proof.trials[0].verdict == "does not apply"
    assert "no parameter is frozen" in proof.trials[0].what


@pytest.mark.parametrize(
    ("treated", "untreated", "verdict"),
    [
        ((0.50, 0.51, 0.49), (0.10, 0.11, 0.09), "helps"),
        ((0.10, 0.11, 0.09), (0.50, 0.51, 0.49), "hurts"),
        ((0.30, 0.50, 0.10), (0.32, 0.28, 0.29), "too few runs"),
        ((0.30, 0.31, 0.30), (0.30, 0.30, 0.31), "no difference"),
        ((0.30,) * 3, (0.30,) * 3, "no difference"),
        ((0.50,), (0.10,), "too few runs"),
        ((0.30, 0.29, 0.30), (0.36, 0.30, 0.31), "too few runs"),
        ((0.12, 0.13, 0.11), (0.10, 0.11, 0.09), "too little"),  # certain, and not worth a word
        ((0.002, 0.0021, 0.0019), (0.0, 0.0, 0.0), "no difference"),  # certain, and not to be seen
        ((-3.0, -3.1, -2.9), (-9.0, -9.1, -8.9), "too little"),  # still worse than a constant
        ((-4e14, -4.1e14, -3.9e14), (-1.2e15, -1.2e15, -1.1e15), "too little"),
        ((0.50, 0.51, math.nan), (0.10, 0.11, 0.09), "hurts"),  # a run that diverged is never a gain
        ((0.50, math.nan, math.nan), (math.nan, math.nan, math.nan), "diverges"),
        ((0.50, 0.51, 0.49), (math.nan, math.nan, 0.1), "helps"),
        ((0.01, 0.00, -0.01), (math.nan, math.nan, 0.1), "too little"),
        ((math.nan,) * 3, (math.nan,) * 3, "diverges"),
    ],
)
def test_verdicts(treated, untreated, verdict):
    assert compare(treated, untreated)[1] == verdict


def test_advice_that_did_not_help_is_withdrawn():
    found = ns.diagnose(deep(0), F.cross_entropy, DATA, steps=25, protocol=QUICK, build=deep)
    tried = {t.treatment: t.verdict for t in found.proof.trials}
    for finding in found.findings:
        assert all(tried[t] == "helps" for t in finding.treatments)
    assert "add_skips" in found.findings[0].treatments


class Pairs(nn.Module):
    """Takes a dictionary, returns one; looks at its own numbers, so that it cannot be vectorised."""

    def __init__(self):
        super().__init__()
        self.one, self.two = nn.Linear(4, 16), nn.Linear(16, 1)

    def forward(self, left, right):
        h = torch.relu(self.one(left + right))
        return {"y": self.two(h) if h.max() > 0 else self.two(-h)}


def test_dictionaries_in_and_out():
    torch.manual_seed(0)
    left, right = torch.randn(90, 4), torch.randn(90, 4)
    pairs = [({"left": left[i : i + 30], "right": right[i : i + 30]}, left[i : i + 30, :1]) for i in (0, 30, 60)]
    proof = prove(Pairs(), lambda out, y: F.mse_loss(out["y"], y), pairs, {"keep": keep}, QUICK)
    assert proof.untreated.path[-1][0] < proof.untreated.path[0][0]
    assert proof.trials[0].treated.loss == proof.untreated.loss


def test_the_users_model_is_not_trained():
    model = zoo.mlp(64, 10, 2, 16)
    before = copy.deepcopy(model.state_dict())
    prove(model, F.cross_entropy, DATA, {"keep": keep}, QUICK)
    assert all(torch.equal(v, model.state_dict()[k]) for k, v in before.items())


def test_a_stopped_proof_goes_on_to_the_same_numbers(tmp_path):
    names, runs = ["add_skips", "reinitialise"], []
    network = deep(0)
    whole = prove(deep, F.cross_entropy, DATA, names, QUICK)

    def stop(said):
        name = said.partition(":")[0]
        runs.append(name)
        if name == "add_skips":
            raise KeyboardInterrupt

    made = plan("x", network, QUICK)
    with pytest.raises(KeyboardInterrupt):
        prove(deep, F.cross_entropy, DATA, names, QUICK, stop, Kept(tmp_path, made, resume=False))
    kept = Kept(tmp_path, made, resume=True)
    assert sorted(kept) == ["add_skips", "untreated"]
    assert prove(deep, F.cross_entropy, DATA, names, QUICK, kept=kept).to_json() == whole.to_json()
    with pytest.raises(InputError, match="other protocol"):
        Kept(tmp_path, plan("x", network, Protocol(steps=26)), resume=True)
    with pytest.raises(InputError, match="other network"):
        Kept(tmp_path, plan("x", deep(1), QUICK), resume=True)
    (tmp_path / "trials.json").write_text("{")
    with pytest.raises(InputError, match="damaged"):
        Kept(tmp_path, made, resume=True)
    assert len(Kept(tmp_path, made, resume=False)) == 0


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"steps": 0}, "steps must be at least 1"),
        ({"seeds": 1}, "at least 2 seeds"),
        ({"held_out": 1.0}, "held_out"),
    ],
)
def test_bad_protocols(change, message):
    with pytest.raises(InputError, match=message):
        Protocol(**change)


def test_bad_input():
    with pytest.raises(InputError, match="unknown treatment 'pray'"):
        prove(zoo.mlp(64, 10, 1, 8), F.cross_entropy, DATA, ["pray"], QUICK)
    with pytest.raises(InputError, match="too few"):
        prove(zoo.mlp(64, 10, 1, 8), F.cross_entropy, [(DATA[0][0][:2], DATA[0][1][:2])], [], QUICK)


def test_a_plan_knows_complex_buffers_whole():
    plans = []
    for turn in (1j, 2j):
        model = torch.nn.Linear(2, 1)
        torch.nn.init.zeros_(model.weight), torch.nn.init.zeros_(model.bias)
        model.register_buffer("rotations", torch.ones(3) * turn)
        plans.append(plan("a.py:build", model, Protocol(steps=1))["network"])
    assert plans[0] != plans[1]


@pytest.mark.parametrize(("jump", "scale"), [(3.0, "linear"), (500.0, "log"), (math.nan, "linear")])
def test_a_copy_that_jumps_does_not_flatten_the_others(jump, scale):
    paths = {"untreated": [[2.3], [2.2], [2.1]], "learning_rate_100x": [[2.3], [jump], [2.3]]}
    assert plots.training([0, 5, 10], paths).axes[0].get_yscale() == scale
    below_zero = paths | {"wrong sign": [[2.3], [0.0], [-9.0]]}  # no logarithm
    assert plots.training([0, 5, 10], below_zero).axes[0].get_yscale() == "linear"


def test_no_two_copies_are_drawn_alike_and_nothing_lies_over_them():
    figure = plots.training((0, 1), {str(i): ((2.0, 2.0), (1.0, 1.0 + i)) for i in range(20)})
    (axes,) = figure.axes
    assert len({(line.get_color(), line.get_linestyle(), line.get_marker()) for line in axes.get_lines()}) == 20
    figure.draw_without_rendering()
    (legend,) = figure.legends
    assert legend.get_window_extent().y1 <= axes.get_window_extent().y0
