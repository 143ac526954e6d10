"""li2018: the backward identity and the table of what lets a deep network train."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F
import xarray as xr

from nonsingular.experiments.claims import judge
from nonsingular.experiments.overrides import Overrides, make_spec
from nonsingular.experiments.run.workspace import Workspace
from nonsingular.networks import build, plainnet, resnet
from nonsingular.papers.li2018 import trainability
from nonsingular.papers.li2018.parts.block_gradients import block_gradients
from nonsingular.papers.registry import experiment

RUNS = 8


def verdicts(id, data):
    return {c.id.split("/")[-1]: judge(c, data, scale="smoke", data="none").verdict for c in experiment(id).claims}


@pytest.mark.parametrize("spec", [resnet(14, width=3, order="pre"), plainnet(14, width=3, order="pre")], ids=str)
def test_block_gradients_against_whole_jacobians(spec):
    """The identity with F's full Jacobian written out: dL/dx = dL/dh (dF/dx + I)."""
    network = build(spec, (2, 4, 4), 3, 0).double().train()
    x, y = torch.randn(2, 2, 4, 4, dtype=torch.float64), torch.tensor([0, 2])
    found = block_gradients(network, x, y)
    assert max(found["gap"]) < 1e-12
    first, last = network.blocks()[1]  # its sizes do not change: the skip is the identity
    state = network.layers[2](network.layers[1](network.layers[0](x)), network.layers[0](x) if spec.skips else None)
    state = state.detach().requires_grad_()

    def rest(h):
        for number, (a, b) in enumerate(network.blocks()[2:], start=2):
            h = b(a(h), network.shortcuts[number](h) if spec.skips else None)
        return F.cross_entropy(network.classify(h), y)

    def block(z):
        return last(first(z))

    jacobian = torch.autograd.functional.jacobian(block, state).reshape(state.numel(), state.numel())
    h = (block(state) + (state if spec.skips else 0)).detach().requires_grad_()
    above = torch.autograd.grad(rest(h), h)[0].flatten()
    expected = above @ (jacobian + (torch.eye(len(jacobian)) if spec.skips else 0))
    assert found["whole"][1] == pytest.approx(float(expected.norm()), rel=1e-9)
    assert found["through_block"][1] == pytest.approx(float((above @ jacobian).norm()), rel=1e-9)
    assert found["through_skip"][1] == pytest.approx(float(above.norm()) if spec.skips else 0, rel=1e-9)


def gradient_results(gap, slopes, noise):
    rng = np.random.default_rng(0)
    blocks = np.linspace(1, 0, 9)
    slope = np.array(slopes)[:, None, None] + noise * rng.normal(size=(2, RUNS, 1))
    return xr.Dataset(
        {
            "gap": (("network", "run", "block"), np.full((2, RUNS, 9), gap)),
            "whole": (("network", "run", "block"), 10 ** (slope * blocks)),
        },
        {"network": ["resnet", "plainnet"], "run": range(RUNS), "block": range(1, 10)},
    )


def test_gradient_verdicts():
    id = "li2018/gradient"
    assert set(verdicts(id, gradient_results(1e-14, (0.1, 3.0), 0.01)).values()) == {"holds"}
    assert set(verdicts(id, gradient_results(0.1, (3.0, 0.1), 0.01)).values()) == {"fails"}
    found = verdicts(id, gradient_results(0.1, (0.8, 1.2), 1.0))
    assert found["kept"] == found["not-kept"] == "inconclusive"


def table(reached, noise=0.0):
    rng = np.random.default_rng(0)
    names = list(reached)
    end = np.array(list(reached.values()))[:, None, None] + noise * rng.normal(size=(len(names), RUNS, 1))
    values = (("network", "run", "epoch"), np.concatenate([np.full_like(end, 0.1), end], axis=2))
    return xr.Dataset(
        {"train_accuracy": values, "train_loss": values},
        {"network": names, "run": range(RUNS), "epoch": [0, 1]},
        {"data": "cifar10"},
    )


def test_trainability_verdicts():
    id = "li2018/trainability"
    changes = dict.fromkeys(trainability.CATEGORIES, 0.9)
    assert set(verdicts(id, table({"baseline": 0.1, **changes, "skips, He": 0.9}, 0.01)).values()) == {"holds"}
    found = verdicts(id, table({"baseline": 0.9, **changes, "skips": 0.8, "skips, He": 0.9}, 0.01))
    assert set(found.values()) == {"fails"}
    even = {"baseline": 0.19, **dict.fromkeys(changes, 0.28), "skips, He": 0.37}
    doubt = [v for n, v in verdicts(id, table(even, 0.5)).items() if not n.startswith("depends")]
    assert doubt.count("inconclusive") >= len(doubt) - 2  # each misses 1 time in 20, and all have one baseline
    for reached in (0.15, 0.5):  # nothing comes half of the way: there was no time, whatever was gained
        short = verdicts(id, table({"baseline": 0.1, **dict.fromkeys(changes, reached)}, 0.001))
        assert set(short.values()) == {"inconclusive"}
    one = verdicts(id, table({"baseline": 0.1, **dict.fromkeys(changes, 0.11), "skips": 0.9}, 0.001))
    for name in ("baseline", "skips", "depends-on-architecture"):
        assert one.pop(name) == "holds"
    assert one.pop("fragments-need-a-good-start") == "inconclusive"  # was not trained
    assert one.pop("depends-on-optimiser") == "inconclusive"  # nothing of the kind trained, nor did the baseline
    assert {one.pop(f"depends-on-{kind}") for kind in ("initialisation", "hyperparameters")} == {"inconclusive"}
    assert set(one.values()) == {"fails"}  # there was time: it is the other changes that do nothing


def test_a_kind_of_choice_matters_if_its_best_change_does():
    """The interval is that of the best: of one change that gains surely, or of several in doubt."""
    reached = {"baseline": 0.1, **dict.fromkeys(trainability.CATEGORIES, 0.1), "momentum": 0.9, "Adam": 0.05}
    assert verdicts("li2018/trainability", table(reached, 0.01))["depends-on-optimiser"] == "holds"
    results = table(reached | {"rate x 10": 0.9}, 1e-3)
    assert verdicts("li2018/trainability", results)["depends-on-hyperparameters"] == "holds"
    results.train_accuracy.loc["rate x 10", 1:, 1] = 0.11  # one of the runs
    results.train_accuracy.loc["rate x 10", 0, 1] = 5.0
    assert verdicts("li2018/trainability", results)["depends-on-hyperparameters"] == "inconclusive"


def test_the_papers_claims_of_trainability_are_the_slides_four_and_fragmentation():
    theirs = [c.id.split("/")[-1] for c in experiment("li2018/trainability").claims if not c.ours]
    assert theirs == [*(f"depends-on-{c}" for c in trainability.CHOICES), "fragments-need-a-good-start"]


def test_claims_that_the_slides_do_not_make_are_named_as_ours():
    assert {c.id.split("/")[-1] for c in experiment("li2018/gradient").claims if c.ours} == {"kept", "not-kept"}


def test_every_change_changes_one_thing():
    spec = make_spec(experiment("li2018/trainability"), "laptop", Overrides())
    members = {m.name: m.network for m in spec.networks}
    assert set(members) == {"baseline", *trainability.CATEGORIES, "skips, He"}
    changed = spec.settings["training"]
    for name, network in members.items():
        differing = [f for f in vars(network) if getattr(network, f) != getattr(members["baseline"], f)]
        differing += [f for f, v in changed.get(name, {}).items() if getattr(spec.training, f) != v]
        # Each optimiser has a learning rate of its own kind: Adam's is not comparable to the baseline's.
        assert len(differing) == {"baseline": 0, "Adam": 2, "skips, He": 2}.get(name, 1), name


def test_the_parts_are_put_together_in_order(tmp_path):
    found = experiment("li2018/trainability")
    spec = make_spec(found, "smoke", Overrides(epochs=1, networks=("Adam", "baseline", "tanh")))
    results = found.run(spec, Workspace(tmp_path))
    assert list(results.network.values) == ["Adam", "baseline", "tanh"]
    assert np.isfinite(results.train_loss).all()
    start = results.train_loss.isel(epoch=0)
    assert np.array_equal(start.sel(network="Adam"), start.sel(network="baseline"))  # equal starts, other optimisers
    assert not np.array_equal(results.train_loss[0, :, 1], results.train_loss[1, :, 1])


def test_runs_that_diverged_are_seen_in_the_picture():
    results = table({"baseline": 0.1, "skips": 0.9, "momentum": 0.9})
    for variable in ("train_accuracy", "train_loss"):
        results[variable].loc["momentum", :2, 1] = np.nan
    ax = trainability.draw(results).axes[0]
    crosses = [line for line in ax.lines if line.get_marker() == "x"]
    assert [len(c.get_xdata()) for c in crosses] == [3]
    assert set(crosses[0].get_xdata()) == {10.0}
    assert [t.get_text() for t in ax.texts] == [f"3 of {RUNS} diverged"]
