"""The experiments of the exact models: small real runs, drawn, and every claim made to fail and to hold."""

import dataclasses
import zlib

import matplotlib.figure
import numpy as np
import pytest
import xarray as xr

from nonsingular.errors import InputError, MissingExtra
from nonsingular.experiments.claims import judge
from nonsingular.experiments.run.workspace import Workspace
from nonsingular.papers.orhan2017 import binary
from nonsingular.papers.orhan2018 import fig2, fig_s4, fig_s5
from nonsingular.training import Store

EXPERIMENTS = {m.FIGURE.id: m.FIGURE for m in (fig2, fig_s4, fig_s5, binary)}
TINY = {
    "orhan2018/fig2": (3, {"grid": 21, "plane": 3, "teachers_plane": 2, "scales": [0.5, 0.25]}),
    "orhan2018/figS4": (3, {"window": 30.0, "points": 301}),
    "orhan2018/figS5": (2, {"grid": 11, "points": 61, "steps": 200}),
    "orhan2017/binary": (3, {"shapes": [[2, 2, 2]], "sweeps": 3, "chains": 32, "strengths": [1.0, 4.0]}),
}


@pytest.fixture(scope="module")
def results(tmp_path_factory):
    """Results by id, each read back from a store: what draw and claims see."""
    found = {}
    for id, (runs, settings) in TINY.items():
        folder = tmp_path_factory.mktemp("run")
        spec = EXPERIMENTS[id].spec("smoke")
        spec = dataclasses.replace(spec, runs=runs, settings={**spec.settings, **settings})
        results = EXPERIMENTS[id].run(spec, Workspace(folder))
        found[id] = Store.save(folder / "r.zarr", results).read()
    return found


@pytest.mark.parametrize("id", TINY)
def test_figures_are_drawn_from_stored_results(results, id):
    for name, figure in EXPERIMENTS[id].draw(results[id]).items():
        assert isinstance(figure, matplotlib.figure.Figure), name
        figure.draw_without_rendering()
        assert all(ax.get_ylabel() or ax.get_title() for ax in figure.axes)
        named = [ax for ax in figure.axes if ax.get_label() != "<colorbar>"]
        assert all(ax.get_xlabel() or ax.get_xticklabels() for ax in named if ax.get_subplotspec().is_last_row())


@pytest.mark.parametrize("id", TINY)
def test_interactive_figures_have_hover_values(results, id):
    pytest.importorskip("plotly")
    figures = EXPERIMENTS[id].interactive(results[id])
    assert figures
    for figure in figures.values():
        assert any(trace.hovertemplate or trace.type == "box" for trace in figure.data)
        figure.to_json()


def test_interactive_figures_say_what_is_missing(results, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "plotly.graph_objects", None)
    with pytest.raises(MissingExtra, match="interactive"):
        EXPERIMENTS["orhan2018/figS4"].interactive(results["orhan2018/figS4"])


@pytest.mark.parametrize("id", TINY)
def test_specs_grow_with_the_scale_and_refuse_others(id):
    runs = [EXPERIMENTS[id].spec(scale).runs for scale in ("smoke", "laptop", "overnight", "paper")]
    assert runs == sorted(runs)
    assert runs[0] < runs[2]
    with pytest.raises(InputError, match="unknown scale"):
        EXPERIMENTS[id].spec("huge")


def setting(variable, value, **where):
    """A mutation: the variable (or its part at ``where``) becomes ``value``, with a little spread over runs."""

    def mutate(results):
        changed = results.copy(deep=True)
        data = changed[variable].astype(float)
        shape = data.loc[where].shape if where else data.shape
        seed = zlib.crc32(repr((variable, value, where)).encode())  # two that are set do not spread alike
        spread = 1 + 1e-3 * np.random.default_rng(seed).random(shape)
        if where:
            data.loc[where] = value * spread
        else:
            data[...] = value * spread
        changed[variable] = data
        return changed

    return mutate


def both(*mutations):
    def mutate(results):
        for mutation in mutations:
            results = mutation(results)
        return results

    return mutate


def segments(count):
    """Of twenty teachers: of three that are equal little is known."""
    many = ("teacher", "inputs"), np.full((20, 3), count)
    return lambda results: results.drop_dims("teacher").assign(segments=many)


def flat(results):
    return results.assign(rescaled=xr.ones_like(results.rescaled))


def slowing(fraction):
    """A loss that rests for a while (its rate falls to ``fraction``) before it drops."""

    def mutate(results):
        changed = results.copy(deep=True)
        tau = changed.tau.values
        loss = 1 / (1 + np.exp(tau - 75.0))
        rate = np.where((tau > 10) & (tau < 70), fraction, 1.0)
        changed["path_loss"] = (("start", "tau"), np.tile(loss, (changed.sizes["start"], 1)))
        changed["path_rate"] = (("start", "tau"), np.tile(rate, (changed.sizes["start"], 1)))
        return changed

    return mutate


def lowest(inside, outside):
    def mutate(results):
        changed = results.copy(deep=True)
        changed["lowest"] = xr.where(np.abs(changed.line_z) < 1, inside, outside)
        return changed

    return mutate


def deviation(order):
    def mutate(results):
        changed = results.copy(deep=True)
        changed["deviation"] = (results.scale_h**order) * xr.ones_like(results.deviation)
        return changed

    return mutate


def gaps(order):
    def mutate(results):
        changed = results.copy(deep=True)
        changed["matrix_gap"] = (results.steps.astype(float) ** -order) * xr.ones_like(results.matrix_gap)
        return changed

    return mutate


def rates(measure, first, second, better):
    high, low = (0.9, 0.2) if better else (0.2, 0.9)
    return both(setting(measure, high, network=first), setting(measure, low, network=second))


def hours(draw, faster):
    slow, fast = ("plain", "residual") if faster else ("residual", "plain")
    return both(setting("converged", 10.0, draw=draw, network=slow), setting("converged", 1.0, draw=draw, network=fast))


def order(first, second, faster):
    quick, slow = (1e-3, 1.0) if faster else (1.0, 1e-3)
    return both(
        setting("curvature", 1.0),
        setting("converged", quick, network=first),
        setting("converged", slow, network=second),
    )


def deeper(first, second, more):
    """Equal times with three layers; with ten the first is faster, or slower."""
    return both(setting("converged_shallow", 0.1), order(first, second, more))


# claim -> (a mutation under which it holds, one under which it fails)
CONTRADICTIONS = {
    "orhan2018/fig2": {
        "degenerate-lines": (setting("fisher", 1e-17, line="overlap"), setting("fisher", 0.1, line="elimination")),
        "stable-segment": (lowest(1.0, -1.0), lowest(1.0, 1.0)),
        "stable-segment-one-input": (segments(1.0), segments(0.0)),
        "stable-segment-three-inputs": (segments(1.0), segments(2.0)),
        "plateau": (slowing(1e-3), slowing(0.5)),
        "reduction": (deviation(1.0), deviation(0.0)),
        "slow-along-m": (setting("ratio", 0.5, system="optimised"), setting("ratio", 2.0, system="optimised")),
        "much-slower-along-m": (setting("ratio", 0.1, system="optimised"), setting("ratio", 0.8, system="optimised")),
        "slow-along-m-at-teacher": (setting("ratio", 0.5, system="teacher"), setting("ratio", 2.0, system="teacher")),
        "slow-along-m-in-weights": (setting("ratio", 0.5, system="weights"), setting("ratio", 2.0, system="weights")),
    },
    "orhan2018/figS4": {
        "small-start": (hours("small", True), hours("small", False)),
        "equal-norms": (
            both(setting("equal_converged", 1.0), setting("equal_converged", 9.0, network="plain")),
            both(setting("equal_converged", 9.0), setting("equal_converged", 1.0, network="plain")),
        ),
        "equal-norms-random": (hours("random equal norms", True), hours("random equal norms", False)),
        "hessian": (setting("hessian_gap", 1e-15), setting("hessian_gap", 1e-3)),
        "residual-not-singular-there": (
            setting("residual_conditioning", -2.0),
            setting("residual_conditioning", -17.0),
        ),
        "residual-only-shifts": (lambda r: r, setting("shift_gap", 0.1)),
        "overlap-singular": (
            setting("plain_conditioning", -17.0, point="overlap"),
            setting("plain_conditioning", -2.0, point="overlap"),
        ),
    },
    "orhan2018/figS5": {
        "saddles": (lambda r: r, setting("saddle", 0.5, network="residual")),
        "residual-faster": (order("residual", "plain", True), order("residual", "plain", False)),
        "hyper-faster": (order("hyper-residual", "residual", True), order("hyper-residual", "residual", False)),
        "hyper-faster-in-steps": (
            order("hyper-residual", "residual", True),
            both(order("hyper-residual", "residual", True), setting("curvature", 1e6, network="hyper-residual")),
        ),
        "deeper-residual": (deeper("residual", "plain", True), deeper("residual", "plain", False)),
        "deeper-hyper-residual": (
            deeper("hyper-residual", "residual", True),
            deeper("hyper-residual", "residual", False),
        ),
        "plain-does-not-arrive": (setting("u", 0.1, network="plain"), setting("u", 3.0, network="plain")),
        "hessian": (setting("hessian_gap", 1e-15), setting("hessian_gap", 1e-3)),
        "equal-columns": (setting("equal_columns", 1e-15), setting("equal_columns", 0.3)),
        "matrices": (gaps(1.0), gaps(0.0)),
    },
    "orhan2017/binary": {
        "symmetry-kept": (setting("permutation_gap", 1e-16), setting("permutation_gap", 0.1, network="all-ones")),
        "symmetry-broken": (setting("permutation_gap", 0.1), setting("permutation_gap", 1e-9, network="residual")),
        "fewer-ties": (setting("tied", 1.0, network="residual"), setting("tied", 1e6, network="residual")),
        "fewer-minima": (
            setting("strict_minima", 1e3, network="plain"),
            setting("strict_minima", 1e3, network="residual"),
        ),
        "fewer-minima-per-copy": (
            both(setting("strict_minima", 1e3, network="plain"), setting("strict_minima", 2, network="residual")),
            both(setting("strict_minima", 1e3, network="plain"), setting("strict_minima", 9e2, network="residual")),
        ),
        "greedy-identity": tuple(rates("greedy", "residual", "plain", b) for b in (True, False)),
        "annealing-identity": tuple(rates("annealing", "residual", "plain", b) for b in (True, False)),
        "annealing-random": tuple(rates("annealing", "random-skip", "plain", b) for b in (True, False)),
        "annealing-biased": tuple(rates("annealing", "biased", "plain", b) for b in (True, False)),
        "all-ones-does-not-help": tuple(rates("annealing", "all-ones", "plain", b) for b in (False, True)),
        "breaking-is-what-helps": tuple(rates("annealing", "residual", "all-ones", b) for b in (True, False)),
        "rescaling-plain": (lambda r: r, setting("rescaled", 2.0, wiring="plain")),
        "rescaling-layer-to-all": (lambda r: r, flat),
        "rescaling-adjacent": (flat, lambda r: r),
    },
}


@pytest.mark.parametrize("id", TINY)
def test_every_claim_can_hold_and_can_fail(results, id):
    claims = {c.id.removeprefix(f"{id}/"): c for c in EXPERIMENTS[id].claims}
    assert claims.keys() == CONTRADICTIONS[id].keys()
    for name, (holding, failing) in CONTRADICTIONS[id].items():
        for mutation, verdict in ((holding, "holds"), (failing, "fails")):
            mutated = mutation(results[id])
            judgement = judge(claims[name], mutated, scale="smoke", data="none")
            assert judgement.verdict == verdict, (name, verdict, judgement)


@pytest.mark.parametrize("id", TINY)
def test_claims_without_their_variables_are_inconclusive(id):
    empty = xr.Dataset(coords={"network": ["plain"], "wiring": ["plain"]})
    for claim in EXPERIMENTS[id].claims:
        assert judge(claim, empty, scale="smoke", data="none").verdict == "inconclusive"
