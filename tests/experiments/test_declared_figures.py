"""Figures that are declared: sizes by scale, verbs whose words are what they compute, needs."""

import numpy as np
import pytest
import xarray as xr

from nonsingular.errors import InputError
from nonsingular.experiments import effects
from nonsingular.experiments.claims import NotMeasured, Region, judge
from nonsingular.experiments.figure import Curves, Figure
from nonsingular.experiments.scales import Scales, every
from nonsingular.experiments.spec import SCALES, Spec
from nonsingular.experiments.verbs import claim, faster, larger


def results(**accuracy):
    """Ten runs of three epochs; a network's accuracy rises to the given one."""
    rng = np.random.default_rng(0)
    values = np.stack([np.linspace(0.1, a, 3) + 0.01 * rng.normal(size=(10, 3)) for a in accuracy.values()])
    return xr.Dataset(
        {
            "train_accuracy": (("network", "run", "epoch"), values),
            "mean_overlap": (("network", "run", "epoch"), values),
        },
        {"network": list(accuracy), "run": np.arange(10), "epoch": np.arange(3)},
    )


def made(*claims, needs=None):
    return Figure(
        "test/figure", "Declared", source="here", sizes=Scales(runs=(1, 2, 3, 4), epochs=7),
        study=lambda size: Spec(size.experiment, size.scale, runs=size.runs, settings={"epochs": size.epochs}),
        draw={"accuracy": Curves("train_accuracy", title="Declared")}, claims=claims, needs=needs,
    )  # fmt: skip


def test_sizes_are_those_of_the_scale():
    specs = [made().specs(scale) for scale in SCALES]
    assert [spec.runs for spec in specs] == [1, 2, 3, 4]
    assert {spec.settings["epochs"] for spec in specs} == {7}
    assert [Scales(runs=(1, 2, 3)).at(scale, "x").runs for scale in SCALES] == [1, 2, 3, 3]
    assert every(3, 9) == (0, 3, 6, 9)
    with pytest.raises(InputError, match="unknown scale 'night'"):
        made().specs("night")
    with pytest.raises(InputError, match="runs needs a value for each of smoke, laptop, overnight, paper, got 2"):
        Scales(runs=(1, 2))
    with pytest.raises(AttributeError, match="Scales has no 'epoch'; it has runs"):
        Scales(runs=1).at("smoke", "x").epoch  # noqa: B018


@pytest.mark.parametrize(("a", "b", "verdict"), [(0.9, 0.5, "holds"), (0.5, 0.9, "fails"), (0.7, 0.7, "inconclusive")])
def test_a_test_is_a_claim(a, b, verdict):
    (declared,) = made(claim("faster", "A trains faster than B", faster("a", "b") > 0)).claims
    found = judge(declared, results(a=a, b=b), scale="smoke", data="digits")
    assert found.verdict == verdict
    assert found.id == "test/figure/faster"
    assert found.source == "here"
    assert found.statement == "A trains faster than B (mean training accuracy over the epochs: a minus b)."
    assert found.unit == "percentage points"


@pytest.mark.parametrize(
    ("test", "region", "words"),
    [
        (
            larger("mean_overlap", "a", "b") < 0,
            Region(high=0.0),
            "mean over the measured epochs after the start: a minus b",
        ),
        (faster("a", "b") > 5, Region(low=5.0), "a minus b; > 5"),
        (larger("train_accuracy", "a", "b").between(-1, 2), Region(-1.0, 2.0), "a minus b; -1 to 2"),
    ],
)
def test_words_and_computation_are_one(test, region, words):
    (declared,) = made(claim("x", "So it is", test)).claims
    assert declared.region == region
    assert words in declared.statement
    data = results(a=0.9, b=0.5)
    assert declared.effect(data) == test.measure.effect(data)
    swapped = test.measure.effect(data.assign_coords(network=["b", "a"]))
    assert swapped.value == pytest.approx(-declared.effect(data).value)  # first minus second, as the words say


def test_effects_stay_within_what_is_possible():
    data = results(a=0.9, b=0.1).isel(run=[0, 1])
    data["mean_overlap"][0], data["mean_overlap"][1] = 1.0, -1.0
    data["mean_overlap"][0, 0] = -1.0
    effect = larger("mean_overlap", "a", "b").effect(data)
    assert effect.high <= 2.0
    assert effect.value == effects.larger(data, "mean_overlap", "a", "b").value


def test_what_is_needed_is_asked_of_the_compared_networks():
    asked = []

    def needs(results, *networks):
        asked.append(networks)
        raise NotMeasured("they have not trained")

    (declared,) = made(claim("faster", "A trains faster", faster("a", "b") > 0), needs=needs).claims
    found = judge(declared, results(a=0.9, b=0.5), scale="smoke", data="digits")
    assert found.verdict == "inconclusive"
    assert found.note == "not measured: they have not trained"
    assert asked == [("a", "b")]


def test_curves_leave_out_epochs_without_a_measurement():
    data = results(a=0.9, b=0.5)
    data["train_accuracy"][:, :, 1] = np.nan
    (picture,) = made().draw(data).values()
    assert picture.axes[0].lines[0].get_xdata().tolist() == [0, 2]
