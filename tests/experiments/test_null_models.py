"""No judge finds anything where there is nothing: claims of all papers on results of networks that do not differ."""

from collections import Counter

import pytest
from null_results import KINDS, null_results, resampled

from nonsingular.experiments.claims import judge
from nonsingular.papers.registry import experiments

SEEDS = 4
ALLOWED = 2
"""Of ``SEEDS`` null results a claim may hold in so many: nominally it holds in 2.5 % of them."""

OTHERWISE = ("li2018/fig", "orhan2018/input-scale")
"""Experiments that measure by other means than instruments: their results cannot be made up of those."""


def says_that_one_trains(found, claim):
    """Whether it says of one network that it trains, as all of the null model do and no untrained one does."""
    measure = found.declared[claim.id.removeprefix(f"{found.id}/")].test.measure
    one = isinstance(measure.networks, tuple) and len(measure.networks) == 1
    return measure.tells_training and one and claim.region.low > 0


def says_that_nothing_differs(claim):
    """Whether no difference is what the claim is about: it lies inside the claim's region, as in "within 2 points"."""
    return claim.region.low < 0 < claim.region.high


TRAINED = [
    e for e in experiments() if e.spec("smoke").training is not None and not e.id.startswith(OTHERWISE) and e.claims
]


@pytest.fixture(autouse=True)
def fewer_resamples(monkeypatch):
    with resampled(monkeypatch, 1000):
        yield


def held(found, kind, seeds):
    """Claim -> in how many null results it holds."""
    spec = found.spec("paper")
    every = [null_results(spec, kind, seed) for seed in range(seeds)]
    return Counter({
        c.id: [judge(c, data, scale="smoke", data="none").verdict for data in every].count("holds")
        for c in found.claims
        if not says_that_nothing_differs(c)
    })  # fmt: skip


@pytest.mark.parametrize("found", TRAINED, ids=lambda e: e.id)
def test_networks_that_do_not_differ_bear_no_claim_out(found):
    """They train alike, and what else is measured of them wanders at random from epoch to epoch."""
    trains = {c.id for c in found.claims if says_that_one_trains(found, c)}
    assert not {id: n for id, n in held(found, "wandering", SEEDS).items() if n > ALLOWED and id not in trains}


@pytest.mark.parametrize("found", TRAINED, ids=lambda e: e.id)
def test_untrained_networks_bear_no_claim_out(found):
    assert not {id: n for id, n in held(found, "untrained", 2).items() if n > 1}


def test_the_null_models_can_be_told_from_results():
    """A claim that looks at nothing but the networks' names would pass: the harness is no formality."""
    spec = TRAINED[0].spec("paper")
    wandering, untrained, _ = (null_results(spec, kind, 0) for kind in KINDS)
    assert float(wandering.train_accuracy.isel(epoch=-1).mean()) > 0.75
    assert float(abs(untrained.train_accuracy - 0.1).max()) < 0.05
    assert not wandering.equals(null_results(spec, "wandering", 1))
