"""Sick networks get the right finding first, healthy ones none; limits come from healthy networks alone."""

import dataclasses
import json
import math
from functools import partial
from importlib import resources

import pytest
import torch
import torch.nn.functional as F
from scipy import stats
from torch import nn

import nonsingular as ns
from nonsingular.diagnosis import bench, healthy
from nonsingular.diagnosis.advice import next_step
from nonsingular.diagnosis.bench import zoo
from nonsingular.diagnosis.bench.patients import Case, flat
from nonsingular.diagnosis.bench.patients import healthy as healthy_cases
from nonsingular.diagnosis.bench.patients import sick as sick_cases
from nonsingular.diagnosis.findings import Finding, _ranked, _signal_gone, findings, named
from nonsingular.diagnosis.records import Statistic
from nonsingular.diagnosis.rules import EXPLAINS, RULES, Rule, network
from nonsingular.diagnosis.rules.rule import certain
from nonsingular.diagnosis.statistics import statistics
from nonsingular.intervals import wilson

SEED = 31_415  # none that the limits were measured on
FIELDS = {"kind", "severity", "layers", "evidence", "mechanism", "source", "treatments"}
SMALLEST = list({case.name.split(",")[0]: case for case in reversed(sick_cases())}.values())
SLOW = ("resnet 20", "vgg 13", "gpt", "fixup", "mobile net", "encoder, pre-norm", "vit")


@pytest.mark.parametrize("case", SMALLEST, ids=lambda case: case.name)
def test_the_planted_illness_is_found_first(case):
    found = bench.diagnose_case(case, case.network(SEED), SEED)
    assert found, "nothing was found"
    assert found[0].kind in case.expected, [(f.kind, f.severity) for f in found]
    assert all(0 < f.severity <= 1 for f in found)
    assert [f.severity for f in found] == sorted((f.severity for f in found), reverse=True)


@pytest.mark.parametrize("case", healthy_cases(), ids=lambda case: case.name)
def test_nothing_is_found_in_healthy_networks(case):
    assert [(f.kind, f.evidence) for f in bench.diagnose_case(case, case.network(SEED), SEED)] == []


@pytest.mark.parametrize("case", [c for c in healthy_cases() if not c.name.startswith(SLOW)][::4], ids=lambda c: c.name)
def test_nothing_is_found_in_healthy_networks_after_training(case):
    network = bench.trained(case, case.network(SEED), SEED)
    assert [(f.kind, f.evidence) for f in bench.diagnose_case(case, network, SEED)] == []


def test_the_bench_is_as_large_as_it_should_be():
    illnesses = {case.name.rpartition(",")[0] for case in sick_cases()}
    assert len(illnesses) >= 15
    assert len(healthy_cases()) >= 10
    assert {kind for case in sick_cases() for kind in case.expected} <= {rule.kind for rule in RULES}


def test_every_rule_has_a_limit_that_was_measured():
    limits = healthy.limits()
    assert {rule.statistic for rule in RULES} == set(limits) == set(healthy.MATERIAL)
    measured = json.loads(resources.files("nonsingular.diagnosis").joinpath(healthy.TABLE).read_text())["quantiles"]
    assert {rule.statistic for rule in network.RULES} <= set(measured)
    assert all(limit.low <= limit.high for limit in limits.values())


def test_limits_are_the_quantiles_and_a_margin():
    values = [-4.0, 0.0, 4.0]
    [limit] = healthy.from_table({"signal-decades": healthy.quantiles({"x": values})["x"]}).values()
    low, high = -4 + 0.02 * 2, 4 - 0.02 * 2  # quantiles 0.005 and 0.995 of three values, linearly interpolated
    assert limit.low == pytest.approx(low * 1.25)
    assert limit.high == pytest.approx(high * 1.25)


def test_narrow_healthy_ranges_do_not_make_trifles_findings():
    [limit] = healthy.from_table({"dead": {"q0.005": 0.0, "q0.5": 0.0, "q0.995": 0.0}}).values()
    assert limit.high == healthy.MATERIAL["dead"]


def test_wilson_intervals_hold_the_rate():
    rate = bench.Rate(19, 20)
    low, high = rate.interval
    assert low < 0.95 < high <= 1
    assert math.isnan(bench.Rate(0, 0).value)
    assert math.isnan(bench.Rate(0, 0).interval[0])
    for successes, trials in ((0, 1), (0, 7), (3, 7), (7, 7), (250, 1000)):
        theirs = stats.binomtest(successes, trials).proportion_ci(method="wilson")
        assert wilson(successes, trials) == pytest.approx(tuple(theirs), abs=1e-12)


def answer(expected, found):
    return bench.Answer("x", 0, False, expected, found)


def test_rates_count_what_they_say():
    outcome = bench.Outcome(
        (
            answer(("a",), ("a", "b")), answer(("a",), ("b", "a")), answer(("a", "b"), ("b",)), answer(("a",), ()),
            answer((), ()), answer((), ("a",)),
        )
    )  # fmt: skip
    assert (outcome.sensitivity.successes, outcome.sensitivity.trials) == (2, 4)
    assert (outcome.false_alarms.successes, outcome.false_alarms.trials) == (1, 2)
    assert len(outcome.to_json()["wrong"]) == 3


def finding(kind, severity):
    return Finding(kind, severity, (), (), "", "", ())


def test_what_another_finding_explains_comes_behind_it():
    ranked = _ranked([finding("singular-representation", 0.9), finding("identical-features", 0.8)])
    assert [f.kind for f in ranked] == ["identical-features", "singular-representation"]
    assert ranked[1].because == "identical-features"
    ranked = _ranked([finding("singular-representation", 0.9), finding("overlap", 0.05)])
    assert ranked[0].kind == "singular-representation"  # what is far milder explains nothing
    assert set(EXPLAINS) <= {rule.kind for rule in RULES}


def test_rules_of_every_room_share_one_list_of_findings(monkeypatch):
    """A fact of the program and a measure of the network are judged, ranked and explained together."""
    fact = Rule("nan-gradient", "made-up", "Why.", "here", severity=certain(0.9), fact=True, remedy="Do this.")
    monkeypatch.setattr("nonsingular.diagnosis.findings.RULES", (fact, *network.RULES))
    monkeypatch.setattr("nonsingular.diagnosis.findings.EXPLAINS", {"nan-gradient": ("saturated-units",)})
    limits = {"made-up": healthy.Limit(-0.5, 0.5), "saturated": healthy.Limit(-0.3, 0.3)}
    told = {"measure": "entries that are NaN", "value": 3}
    numbers = {
        "made-up": Statistic(1.0, ("a",), "entries", where="loss.py:3", evidence=(told,)),
        "saturated": Statistic(0.95, ("b",), "share"),
    }
    first, second = findings(numbers, limits)
    assert (first.kind, first.where, first.remedy, first.evidence) == ("nan-gradient", "loss.py:3", "Do this.", (told,))
    assert (second.kind, second.because) == ("saturated-units", "nan-gradient")
    assert second.evidence[0]["healthy"] == 0.3
    own = dataclasses.replace(numbers["made-up"], remedy="Do that.")
    assert findings({"made-up": own}, limits)[0].remedy == "Do that."
    assert findings({"made-up": dataclasses.replace(own, value=0.0)}, limits) == []


def test_roots_are_named_not_links():
    ranked = _ranked([finding("identical-features", 1.0), finding("overlap", 0.9), finding("linear-dependence", 0.8)])
    assert [f.because for f in ranked] == ["", "identical-features", "identical-features"]


def test_a_forward_pass_that_overflows_is_a_finding_not_an_error():
    torch.manual_seed(0)
    model = zoo.scaled(zoo.he(zoo.mlp(8, 3, 30, 32)), 100.0)
    found = ns.diagnose(model, F.cross_entropy, [(torch.randn(64, 8), torch.randint(3, (64,)))])
    assert found.findings[0].kind == "exploding-signal"
    assert found.findings[0].layers
    json.dumps(found.to_json(), allow_nan=False)


def test_json_has_the_contracted_fields():
    torch.manual_seed(0)
    found = ns.diagnose(
        zoo.glorot(zoo.mlp(8, 3, 40, 16)), F.cross_entropy, [(torch.randn(64, 8), torch.randint(3, (64,)))]
    )
    document = json.loads(json.dumps(found.to_json(), allow_nan=False))
    assert document["findings"]
    assert all(set(f) >= FIELDS and 0 <= f["severity"] <= 1 for f in document["findings"])
    assert [layer["name"] for layer in document["layers"]] == [layer.name for layer in found.layers]
    evidence = document["findings"][0]["evidence"][0]
    assert evidence["value"] > evidence["healthy"]


def test_small_networks_get_their_hessian_counted():
    torch.manual_seed(0)
    model = zoo.mlp(8, 3, 2, 8)
    pairs = [(torch.randn(64, 8), torch.randint(3, (64,)))]
    seen = ns.diagnose(model, F.cross_entropy, pairs).look
    H = ns.curvature.Hessian(model, F.cross_entropy, pairs)
    exact = ns.curvature.spectrum(H)
    assert seen.spectrum.degenerate.count == exact.degenerate.count
    assert statistics(seen)["flat"].value == exact.degenerate.fraction
    assert ns.diagnose(model, F.cross_entropy, pairs, curvature=False).look.spectrum is None


def test_a_flat_loss_is_degenerate_curvature():
    torch.manual_seed(0)
    model = zoo.scaled(zoo.mlp(8, 3, 1, 8), 0.05)
    with torch.no_grad():
        model[-1].weight.mul_(0.01)
    pairs = [(torch.randn(64, 8), torch.randint(3, (64,)))]

    def kinds(factor):
        return [
            f.kind for f in ns.diagnose(model, lambda output, y: factor * F.cross_entropy(output, y), pairs).findings
        ]

    assert "degenerate-curvature" in kinds(0.2)
    assert "degenerate-curvature" not in kinds(0.01)  # of a small loss all eigenvalues are small


def test_severity_grows_with_the_damage():
    def share(dead):
        torch.manual_seed(0)
        model = zoo.dead(zoo.he(zoo.mlp(8, 3, 3, 64)), dead)
        found = ns.diagnose(model, F.cross_entropy, [(torch.randn(64, 8), torch.randint(3, (64,)))])
        return next(f.severity for f in found.findings if f.kind == "dead-units")

    assert share(0.7) < share(0.85) < share(0.97)


def test_evidence_is_what_the_layer_rows_say():
    torch.manual_seed(0)
    model = zoo.dead(zoo.he(zoo.mlp(8, 3, 3, 64)), 0.8)
    found = ns.diagnose(model, F.cross_entropy, [(torch.randn(64, 8), torch.randint(3, (64,)))])
    rows = {layer.name: layer for layer in found.layers}
    dead = found.findings[0]
    assert all(e["value"] == rows[e["layer"]].dead for e in dead.evidence if "layer" in e)
    worst = max(layer.dead for layer in found.layers if layer.dead >= 0)
    assert worst - 0.15 < dead.evidence[0]["value"] < worst  # the lower end of its interval


def test_units_that_die_because_samples_look_alike_are_no_cause():
    names = [f"{i}" for i in range(4)]
    dead = dataclasses.replace(finding("dead-units", 0.9), layers=("3",))
    vanished = finding("vanishing-signal", 0.6)
    assert [f.kind for f in _ranked([dead, vanished])] == ["dead-units", "vanishing-signal"]
    gone, kept = ("dead-units", "vanishing-signal"), ("vanishing-signal", "dead-units")
    assert [f.kind for f in _ranked([dead, vanished], but=[gone])] == ["vanishing-signal", "dead-units"]
    worse = dataclasses.replace(vanished, severity=1.0)
    assert [f.kind for f in _ranked([dead, worse], but=[kept])] == ["dead-units", "vanishing-signal"]
    torch.manual_seed(0)
    seen = ns.diagnosis.look(zoo.mlp(8, 3, 1, 8), F.cross_entropy, [(torch.randn(9, 8), torch.randint(3, (9,)))])

    def gone(fall, dead):
        """Spread falls by that factor a layer, in which that share of the units is dead."""
        rows = [ns.diagnosis.Layer(n, "Linear", 8, spread=fall**i, signal=1.0, dead=dead) for i, n in enumerate(names)]
        return _signal_gone(dataclasses.replace(seen, layers=rows), ())

    assert gone(0.1, 0.5)
    assert not gone(0.1, 0.99)  # dead units take away a tenth of the spread in each layer
    assert not gone(1.0, 0.5)


@pytest.mark.parametrize("depth", [20, 30])
def test_the_first_finding_does_not_depend_on_the_scale_of_the_inputs(depth):
    """Where the spread has fallen to the rounding of float32, what is below it is no finding."""
    kinds = set()
    for scaling in ("standardised", "unit", "raw", "centred"):
        torch.manual_seed(0)
        kinds.add(bench.diagnose_case(Case("", lambda: zoo.mlp(64, 10, depth, 64), partial(flat, scaling=scaling)),
                                      zoo.mlp(64, 10, depth, 64), 0)[0].kind)  # fmt: skip
    assert kinds == {"vanishing-signal"}


def test_scaling_the_loss_changes_no_finding_but_curvature():
    """Findings compare layers with each other: they must not depend on the unit of the loss."""
    case = next(c for c in sick_cases() if c.name.startswith("plain mlp"))
    other = dataclasses.replace(case, loss=lambda output, y: 1000 * F.cross_entropy(output, y))
    one, two = (bench.diagnose_case(c, c.network(0), 0) for c in (case, other))
    assert [f.kind for f in one] == [f.kind for f in two]
    assert [f.severity for f in one] == pytest.approx([f.severity for f in two], rel=1e-4)


def test_permuting_units_changes_nothing():
    torch.manual_seed(0)
    model = zoo.dead(zoo.he(zoo.mlp(8, 3, 2, 32)), 0.6)
    order = torch.randperm(32)
    permuted = nn.Sequential(
        *(type(m)(m.in_features, m.out_features) if isinstance(m, nn.Linear) else m for m in model)
    )
    permuted.load_state_dict(model.state_dict())
    with torch.no_grad():
        permuted[0].weight.copy_(model[0].weight[order])
        permuted[0].bias.copy_(model[0].bias[order])
        permuted[2].weight.copy_(model[2].weight[:, order])
    pairs = [(torch.randn(64, 8), torch.randint(3, (64,)))]
    a, b = (ns.diagnose(m, F.cross_entropy, pairs) for m in (model, permuted))
    assert [(f.kind, f.severity) for f in a.findings] == [(f.kind, pytest.approx(f.severity)) for f in b.findings]


def test_a_layer_that_is_dead_altogether_is_the_cause_of_the_vanished_signal():
    torch.manual_seed(0)
    model = zoo.lenet()
    with torch.no_grad():
        model[3].bias.fill_(-10.0)
    found = ns.diagnose(model, F.cross_entropy, [(torch.randn(64, 1, 8, 8), torch.randint(10, (64,)))])
    assert found.findings[0].kind == "dead-units"
    assert "3" in found.findings[0].layers
    assert {f.because for f in found.findings[1:]} == {"dead-units"}


def test_a_list_of_layers_says_how_many_it_leaves_out():
    assert named(["a", "b"]) == "a, b"
    assert named(["a", "b", "c"], most=2) == "a, b and 1 more"
    torch.manual_seed(0)
    found = ns.diagnose(zoo.mlp(16, 8, 20, 8), F.cross_entropy, [(torch.randn(64, 16), torch.randint(8, (64,)))])
    first = found.findings[0]
    assert f"and {len(first.layers) - 4} more" in str(found)


def test_a_mistake_behind_the_network_explains_nothing_that_lies_before_it():
    """Without the softmax the signal vanishes all the same, so it is told as a cause of its own."""
    torch.manual_seed(0)
    layers = [m for _ in range(8) for m in (nn.Linear(16, 16), nn.Sigmoid())]
    logits, batch = nn.Sequential(*layers, nn.Linear(16, 4)), (torch.randn(64, 16), torch.arange(64) % 4)
    both, one = (ns.diagnose(m, F.cross_entropy, [batch]) for m in (nn.Sequential(logits, nn.Softmax(1)), logits))
    assert both.findings[0].kind == "probabilities-as-logits"
    severity = {f.kind: f.severity for f in one.findings if not f.because}
    assert severity
    assert {f.kind: f.severity for f in both.findings[1:] if not f.because} == pytest.approx(severity, rel=0.05)
    words = next_step(both).words
    assert both.findings[0].remedy in words
    assert f"does not cure {next(iter(severity))}, which has a cause of its own: try " in words


def test_a_table_is_made_of_networks_and_of_loops_and_read_again():
    networks = [{"dead": 0.1 * k, "collapse": math.nan} for k in range(5)]
    loops = [{"loop-large-step": 0.01 * k, "loop-trains": 1.0} for k in range(5)]  # the latter is no rule's
    made = bench.tabulated([*networks, *loops], range(2))["quantiles"]
    assert set(made) == {"dead", "loop-large-step"}
    limits = healthy.from_table(made)
    assert limits["dead"].high > 0.39
    assert limits["loop-large-step"].high > 0.039
