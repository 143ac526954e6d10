"""Figures that are declared: sizes by scale, verbs whose words are what they compute, needs."""

import re
from pathlib import Path

import numpy as np
import pytest
import xarray as xr

from nonsingular.data import DataSpec
from nonsingular.errors import InputError
from nonsingular.experiments.claims import Effect, NotMeasured, Region, judge
from nonsingular.experiments.drawings import Only, OverLayers, OverNumbers, labelled
from nonsingular.experiments.figure import Curves, Figure
from nonsingular.experiments.needs import all_of, given, took_place, trained
from nonsingular.experiments.overrides import Overrides, make_spec
from nonsingular.experiments.quantities import END, LAST, SPEED, START, epochs_until, first_over_last, of, tracks
from nonsingular.experiments.report.papers import PAPERS
from nonsingular.experiments.run.study import run_study
from nonsingular.experiments.run.workspace import Workspace
from nonsingular.experiments.scales import Scales, every_nth_epoch
from nonsingular.experiments.spec import SCALES, Spec
from nonsingular.experiments.verbs import (
    across,
    average,
    claim,
    correlation,
    correlation_along,
    faster,
    larger,
    largest_of,
    largest_value,
    lies_between,
    mean_value,
    regrouped,
    slope,
    slopes,
    smallest_of,
    smallest_value,
    weighted_sum,
)
from nonsingular.networks import named
from nonsingular.papers import registry
from nonsingular.training import Member, TrainingSpec


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


def made(needs=None, **claims):
    return Figure(
        "test/figure", "Declared", source="here", sizes=Scales(runs=(1, 2, 3, 4), epochs=7),
        study=lambda size: Spec(size.experiment, size.scale, runs=size.runs, settings={"epochs": size.epochs}),
        draw={"accuracy": Curves("train_accuracy", title="Declared")}, claims=claims, needs=needs,
    )  # fmt: skip


def test_sizes_are_those_of_the_scale():
    specs = [made().spec(scale) for scale in SCALES]
    assert [spec.runs for spec in specs] == [1, 2, 3, 4]
    assert {spec.settings["epochs"] for spec in specs} == {7}
    assert [Scales(runs=(1, 2, 3)).at(scale, "x").runs for scale in SCALES] == [1, 2, 3, 3]
    assert every_nth_epoch(3, last=9) == (0, 3, 6, 9)
    with pytest.raises(InputError, match="unknown scale 'night'"):
        made().spec("night")
    with pytest.raises(InputError, match="runs needs a value for each of smoke, laptop, overnight, paper, got 2"):
        Scales(runs=(1, 2))
    with pytest.raises(InputError, match="Scales has no 'epoch'; it has runs"):
        Scales(runs=1).at("smoke", "x").epoch  # noqa: B018


def test_a_size_makes_the_spec_with_what_single_networks_are_trained_with():
    size = Scales(runs=(1, 2, 3, 4), epochs=7).at("laptop", "test/figure")
    a, b = Member("a", named("plain", depth=2)), Member("b", named("plain", depth=3))
    spec = size.spec(networks={a: {}, b: {"batch": 5}}, instruments=["train_accuracy"], settings={"more": 1})
    assert (spec.experiment, spec.scale, spec.runs, spec.networks) == ("test/figure", "laptop", 2, (a, b))
    assert spec.settings == {"more": 1, "training": {"b": {"batch": 5}}}
    assert spec.instruments == {"train_accuracy": None}
    assert size.spec(networks=(a,)) == size.spec(networks=[a])
    assert size.spec(networks=(a,)).settings == {}


def test_a_size_says_which_images():
    sizes = Scales(runs=1)
    assert sizes.at("smoke", "test/figure").dataset("cifar10") == "digits"
    assert sizes.at("paper", "test/figure").dataset("cifar10") == "cifar10"
    assert sizes.at("smoke", "test/figure", "svhn").dataset("cifar10") == "svhn"


def test_claims_without_names_are_refused():
    with pytest.raises(InputError, match="test/figure: claims are a dictionary of names and claims"):
        Figure(
            "test/figure", "Declared", source="here", sizes=Scales(runs=1), draw={},
            claims=(claim("A trains faster", faster("a", "b") > 0),),
        )  # fmt: skip


def test_exact_results_have_a_largest_value_and_a_mean():
    data = xr.Dataset({"gap": (("network", "run"), [[1.0, 3.0], [5.0, 4.0]])}, {"network": ["a", "b"]})
    assert largest_value("gap", "gap").effect(data) == Effect(5, 5, 5, 2)
    assert smallest_value("gap", "gap", network=["a"]).effect(data) == Effect(1, 1, 1, 2)
    assert mean_value("gap", "gap", network="b").effect(data).value == 4.5
    for measure in (
        largest_value("other", "x"),
        largest_value("gap", "x", network="c"),
        mean_value("gap", "x", network="c"),
    ):
        with pytest.raises(NotMeasured, match="is not among the results"):
            measure.effect(data)


def test_what_must_be_so_besides_is_told_where_it_is_not():
    needs = given(average(SPEED, "b") < 40, "b trains too well")
    needs(results(a=0.9, b=0.2), faster("a", "b"))
    with pytest.raises(NotMeasured, match=r"b trains too well \(mean training accuracy over the epochs: b: 40\.\d\)"):
        needs(results(a=0.9, b=0.5), faster("a", "b"))


def test_every_figure_of_the_papers_is_found_where_it_stands():
    ids = [experiment.id for experiment in registry.experiments()]
    modules = Path(registry.__file__).parent.rglob("*.py")
    written = {id for module in modules for id in re.findall(r'Figure\(\s*"([a-z0-9]+/[\w-]+)"', module.read_text())}
    assert written <= set(ids)
    assert ids.index("orhan2018/fig2") < ids.index("orhan2018/fig8") < ids.index("orhan2018/figS1")
    assert list(dict.fromkeys(id.split("/")[0] for id in ids))[: len(PAPERS)] == list(PAPERS)


@pytest.mark.parametrize(("a", "b", "verdict"), [(0.9, 0.5, "holds"), (0.5, 0.9, "fails"), (0.7, 0.7, "inconclusive")])
def test_a_test_is_a_claim(a, b, verdict):
    (declared,) = made(faster=claim("A trains faster than B", faster("a", "b") > 0)).claims
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
    (declared,) = made(x=claim("So it is", test)).claims
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
    a, b = (float(data.mean_overlap.sel(network=n).isel(epoch=slice(1, None)).mean()) for n in "ab")
    assert effect.value == pytest.approx(a - b)


def test_what_is_needed_is_asked_of_the_compared_networks():
    asked = []

    def needs(results, measure):
        asked.append(measure.networks)
        raise NotMeasured("they have not trained")

    (declared,) = made(needs, faster=claim("A trains faster", faster("a", "b") > 0)).claims
    found = judge(declared, results(a=0.9, b=0.5), scale="smoke", data="digits")
    assert found.verdict == "inconclusive"
    assert found.note == "not measured: they have not trained"
    assert asked == [("a", "b")]


def test_curves_leave_out_epochs_without_a_measurement():
    data = results(a=0.9, b=0.5)
    data["train_accuracy"][:, :, 1] = np.nan
    (picture,) = made().draw(data).values()
    assert np.round(picture.axes[0].lines[0].get_xdata()).tolist() == [0, 2]  # beside each other, not on each other


def study(epochs=4, runs=10, **accuracy):
    """Runs whose accuracy rises to the given one, with norms of three layers that fall by a decade a layer."""
    rng = np.random.default_rng(1)
    shape = (len(accuracy), runs, epochs)
    rising = np.array(list(accuracy.values()))[:, None, None] * np.linspace(0.2, 1, epochs)
    layers = 10.0 ** np.array([-2.0, -1.0, 0.0])
    return xr.Dataset(
        {
            "train_accuracy": (("network", "run", "epoch"), rising + 1e-3 * rng.normal(size=shape)),
            "gradient_norm": (("network", "run", "epoch", "layer"), np.broadcast_to(layers, (*shape, 3)).copy()),
            "bias_gap": (("network", "run", "epoch"), np.full(shape, 0.2)),
        },
        {"network": list(accuracy), "run": np.arange(runs), "epoch": np.arange(epochs), "layer": [1, 2, 3]},
        {"data": "digits", "scaling": "unit"},
    )


def test_quantities_are_taken_when_and_where_they_say():
    data = study(a=0.9)
    data["gradient_norm"] = data.gradient_norm * 10.0**data.epoch
    assert float(of("gradient_norm", epoch=START, layer=1)(data, "a").mean()) == pytest.approx(0.01)
    assert float(of("gradient_norm", epoch=START, layer=LAST, log=True)(data, "a").mean()) == pytest.approx(0.0)
    assert float(of("gradient_norm", epoch=END, log=True)(data, "a").mean()) == pytest.approx(2.0)
    assert float(of("gradient_norm", epoch=(1, 2), log=True)(data, "a").mean()) == pytest.approx(0.5)
    assert float(of("gradient_norm", log=True)(data, "a").mean()) == pytest.approx(1.0)
    assert float(first_over_last()(data, "a").mean()) == pytest.approx(-2.0)
    assert (
        float((of("gradient_norm", epoch=2, log=True) - of("gradient_norm", epoch=1, log=True))(data, "a").mean())
        == 1.0
    )
    assert epochs_until(70)(data, "a").values.tolist() == [3.0] * 10
    assert epochs_until(99)(data, "a").values.tolist() == [4.0] * 10
    assert of("gradient_norm", epoch=START).before
    assert not (of("gradient_norm", epoch=1) - of("gradient_norm", epoch=START)).before
    assert of("gradient_norm", epoch=(1, 2), log=True).words == "log10 of mean gradient norm, mean after epochs 1 and 2"
    with pytest.raises(NotMeasured, match="gradient_norm was not measured after epoch 9"):
        of("gradient_norm", epoch=9)(data, "a")
    with pytest.raises(NotMeasured, match="gradient_norm of layer 7"):
        of("gradient_norm", epoch=1, layer=7)(data, "a")


def test_series_take_what_was_trained():
    data = study(a=0.4, b=0.6)
    ends = of("train_accuracy", epoch=END)
    assert slope(ends, {"a": 1, "gone": 1.5, "b": 2}, "a step").effect(data).note == "not trained: 1 of 3 networks"
    assert across(ends, ["a", "b", "gone"], "max").effect(data).value == pytest.approx(60, abs=0.1)
    assert across(ends, ["a", "b"], "min").effect(data).value == pytest.approx(40, abs=0.1)
    assert across(ends, ["a", "b"], "min").words == "training accuracy after the last epoch: the smallest over a, b"
    with pytest.raises(NotMeasured, match="needs 2 of the networks a, gone"):
        slope(ends, {"a": 1, "gone": 2}, "a step").effect(data)
    trained()(study(a=0.9), across(ends, ["a", "gone"], "max"))


def test_what_tracks_what_over_epochs():
    data = study(epochs=8, a=0.9)
    rising = xr.DataArray(np.arange(8.0), dims="epoch")
    data["bias_gap"] = data.bias_gap - rising
    assert tracks("train_accuracy", "bias_gap")(data, "a").values.tolist() == pytest.approx([-1.0] * 10)
    data["gradient_norm"] = data.gradient_norm * xr.where(data.layer == 2, 1 + rising, 1.0)
    assert tracks("bias_gap", "gradient_norm", layer=2)(data, "a").values.tolist() == pytest.approx([-1.0] * 10)
    with pytest.raises(NotMeasured, match="needs 5 epochs after the start, got 3"):
        tracks("train_accuracy", "bias_gap")(study(a=0.9), "a")


def test_the_last_epoch_is_the_last_one():
    data = study(a=0.9)
    data["bias_gap"][:, :, -1] = np.nan
    with pytest.raises(NotMeasured, match="bias_gap was not measured after epoch 3"):
        of("bias_gap", epoch=END)(data, "a")


def test_sums_are_of_runs_with_equal_numbers():
    data = study(a=0.9, b=0.5, c=0.7)
    shared = xr.DataArray(np.linspace(-0.1, 0.1, 10), {"run": data.run}, "run")
    data["train_accuracy"] = data.train_accuracy + shared
    cost = weighted_sum(SPEED, {"a": 1, "b": -0.5, "c": -0.5})
    found = cost.effect(data)
    assert cost.words == "mean training accuracy over the epochs: a - 0.5 b - 0.5 c"
    assert found.value == pytest.approx(100 * (0.9 - 0.6) * 0.733, abs=0.2)
    assert found.high - found.low < 0.5  # what is the same in all networks of a run cancels
    assert weighted_sum(SPEED, {"a": -1, "b": 2}).words.endswith("-a + 2 b")


def test_slopes_follow_a_series():
    data = study(a=0.4, b=0.6, c=0.8)
    data["train_accuracy"][2, 0] = np.nan  # a run that diverged
    found = slope(of("train_accuracy", epoch=END), {"a": 1, "b": 2, "c": 3}, "a step")
    assert found.unit == "percentage points a step"
    assert found.effect(data).value == pytest.approx(20, abs=0.1)
    assert found.effect(data).runs == 10


def test_the_slope_of_equal_values_is_nothing():
    equal = xr.DataArray(np.full((2, 3), 0.1), dims=("run", "network"))
    assert slopes(equal, [0, 1, 2.3]).tolist() == [0, 0]


def test_correlations_are_over_runs():
    data = study(a=0.9)
    data["bias_gap"] = data.bias_gap * 0 - data.train_accuracy.mean("epoch")
    found = correlation(SPEED, of("bias_gap"), "a").effect(data)
    assert found.value < -0.9


def test_the_least_and_the_most_are_of_all():
    data = study(a=0.9, b=0.5, c=0.7)
    ahead = {f"ahead of {name}": faster("a", name) for name in "bc"}
    assert smallest_of(ahead).effect(data).note == "ahead of c"
    assert largest_of(ahead).effect(data).note == "ahead of b"
    assert smallest_of(ahead).effect(data).value == faster("a", "c").effect(data).value
    assert smallest_of(ahead).of(data) == ("a", "b", "c")


def test_runs_are_sorted_into_groups():
    data = study(a=0.9)
    halves = lambda r: xr.concat(  # noqa: E731
        [r.sel(network="a").isel(run=half) for half in (slice(0, 5), slice(5, None))],
        xr.Variable("network", ["first", "last"]), join="override",
    )  # fmt: skip
    measure = regrouped(halves, faster("first", "last"), "halves of the runs")
    assert abs(measure.judged(data).value) < 1
    assert measure.words.endswith("first minus last; halves of the runs")
    asked = []
    measure.judged(data, lambda results, m: asked.append(list(results.network.values)))
    assert asked == [["first", "last"]]


@pytest.mark.parametrize(
    ("measure", "refused"),
    [
        (faster("good", "bad"), False),
        (faster("bad", "worse"), True),
        (larger("bias_gap", "good", "bad"), True),
        (larger("bias_gap", "good", "good"), False),
        (average(first_over_last(), "bad"), False),  # before training it need not train
    ],
)
def test_needs_of_outcomes_and_of_other_things(measure, refused):
    data = study(good=0.9, bad=0.11, worse=0.1)
    if refused:
        with pytest.raises(NotMeasured, match=r"bad came . %.* from guessing to no error; more than 50 % is needed"):
            measure.judged(data, trained())
    else:
        measure.judged(data, trained())


WAY = "came more than 50 % of the way from guessing to no error"


@pytest.mark.parametrize(
    ("measure", "needs", "said"),
    [
        (faster("a", "b"), trained(), f"one of those compared {WAY}"),
        (larger("mean_overlap", "a", "b"), trained(), f"each of those compared {WAY}"),
        (average(of("mean_overlap"), "a"), trained(), f"a {WAY}"),
        (faster("a", "b"), trained(50, "c", "d"), f"one of c, d {WAY}"),
        (
            faster("a", "b"),
            took_place("bias_gap", 0.5, "b", "c"),
            "at most 50 % of the distance of biases from targets remains in b",
        ),
        (faster("a", "d"), all_of(trained(), took_place("bias_gap", 0.5, "b")), f"one of those compared {WAY}"),
        (faster("a", "b"), given(faster("b", "c") > 2, "no"), f"{SPEED.words} (b minus c) is > 2"),
        (smallest_of({"b": faster("a", "b"), "c": faster("a", "c")}), trained(), f"one of those compared {WAY}"),
        (larger(of("mean_overlap", epoch=START), "a", "b"), trained(), ""),
        (faster("a", "b"), lambda results, measure: None, ""),
    ],
)
def test_a_claim_says_what_it_needs(measure, needs, said):
    """Where it is said nothing of, nothing is asked; elsewhere the statement has it, whoever prints it."""
    found = claim("So it is", measure > 0, needs=needs).claim("paper/fig/name", "here", None).statement
    assert found == f"So it is ({measure.words})." + (f" Judged where {said}." if said else "")


@pytest.mark.parametrize(
    "both",
    [
        lambda a, b: correlation(a, b, "bad"),
        lambda a, b: correlation_along(a, b, ["good", "bad"]),
        lambda a, b: larger(a - b, "good", "bad"),
    ],
)
def test_what_is_made_of_several_asks_as_much_as_the_most_asking(both):
    overlap, start = of("mean_overlap"), of("mean_overlap", epoch=START)
    assert (both(SPEED, start).before, both(SPEED, start).tells_training) == (False, True)
    assert (both(SPEED, overlap).before, both(SPEED, overlap).tells_training) == (False, False)
    assert both(start, start).before


def test_needs_of_references_and_of_treatments():
    data = study(good=0.9, bad=0.11)
    trained(50, "good", "left out")(data, faster("bad", "bad"))
    with pytest.raises(NotMeasured, match="bad came"):
        trained(50, "bad")(data, faster("good", "good"))
    both = all_of(trained(), took_place("bias_gap", 0.1, "good"))
    with pytest.raises(NotMeasured, match="good was not treated: 20 % of the distance"):
        both(data, faster("good", "bad"))
    took_place("bias_gap", 0.1, "good")(data, faster("bad", "bad"))


def test_drawings_show_what_they_are_made_of():
    data = study(a=0.9, b=0.5)
    layers = OverLayers("gradient_norm", title="{layers} layers, {runs} runs", epochs=(0, 7))(data)
    assert layers.axes[0].get_yscale() == "log"
    assert layers.get_suptitle().startswith("3 layers, 10 runs")
    scan = OverNumbers(SPEED, series={"kind": {"a": 1, "b": 2, "gone": 4}}, label="number", title="Scan")(data)
    assert scan.axes[0].get_ylabel() == "mean training accuracy over the epochs (%)"
    assert [line.get_label() for line in Curves("train_accuracy", title="b", view=Only("b"))(data).axes[0].lines] == [
        "b"
    ]
    assert Curves("train_loss", title="nothing")(data) is None
    assert OverNumbers(SPEED, series={"kind": {"gone": 1}}, label="number", title="Scan")(data) is None


def test_an_error_on_a_logarithmic_axis_is_that_of_the_logarithms():
    data = study(a=0.9)
    data["gradient_norm"] = data.gradient_norm * 10.0 ** (4 * xr.DataArray(np.arange(10) % 2, dims="run"))
    band = Curves("gradient_norm", title="Norms", log=("gradient_norm",))(data).axes[0].collections[0]
    low, high = band.get_datalim(band.axes.transData).intervaly
    assert high / low == pytest.approx(10 ** (2 * 4 * 0.5 / 3), rel=0.1)  # two standard errors of ten runs


def test_shares_near_all_are_shown_by_what_they_lack():
    data = study(a=0.9, b=0.5)
    data["train_accuracy"] = 1 - 1e-4 * data.train_accuracy
    axes = Curves("train_accuracy", title="Shares")(data).axes[0]
    assert axes.get_ylabel() == "not training accuracy (%)"
    assert axes.get_yscale() == "log"


# --- what is misspelt is told before anything is trained -------------------------------------------------------


def studied(**fields):
    def study(size):
        members = (Member("plain", named("plain", depth=2)), Member("residual", named("residual", depth=2)))
        fields_ = {"data": DataSpec("digits"), "training": TrainingSpec(), "instruments": ["train_accuracy"]} | fields
        return size.spec(networks=members, **fields_)

    return study


FINE = {"draw": {}, "claims": {"x": claim("X", faster("residual", "plain") > 0)}}


@pytest.mark.parametrize(
    ("parts", "message"),
    [
        ({"claims": {"x": claim("X", faster("residul", "plain") > 0)}}, "f/g, claim 'x': unknown network 'residul'"),
        ({"claims": {"x": claim("X", larger("mean_overlap", "residual", "plain") > 0)}}, "claim 'x': mean_overlap is"),
        ({"claims": {"x": claim("X", faster("residual", "plain") > 0, needs=trained(9, "pln"))}}, "needs of claim 'x'"),
        ({"needs": trained(50, "residual", "plian")}, "f/g, needs: unknown network 'plian'; did you mean 'plain'?"),
        ({"needs": all_of(trained(50, "plian"))}, "f/g, needs: unknown network 'plian'"),
        ({"draw": {"a": Curves("train_accuracy", title="t", view=Only("plian"))}}, "drawing 'a': unknown network 'pl"),
        ({"draw": {"a": Curves("zero_response", title="t")}}, "zero_response is measured at no scale; have zero_resp"),
        ({"draw": {"a": OverLayers("gradient_norm", title="t")}}, "drawing 'a': gradient_norm is measured at no scale"),
        (
            {"draw": {"a": OverNumbers(SPEED, series={"a": {"plain": 1}}, label="n", title="t", levels=("resdual",))}},
            "drawing 'a': unknown network 'resdual'; did you mean 'residual'? There are plain, residual",
        ),
        (
            {"study": studied(instruments=["train_acuracy"])},
            "unknown instrument 'train_acuracy'; did you mean 'tr",
        ),
        ({"study": studied(trainning=None)}, "f/g: unknown field of a spec 'trainning'; did you mean 'training'?"),
        ({"study": lambda size: None}, "f/g: study must return a spec, as size.spec(...) makes it, got None"),
    ],
)
def test_what_a_figure_names_must_be_there(parts, message):
    made = Figure("f/g", "T", source="s", sizes=Scales(runs=2), **({"study": studied()} | FINE | parts))
    with pytest.raises(InputError) as refused:
        make_spec(made, "smoke", Overrides())
    assert message in str(refused.value)
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize(
    "declared",
    [
        lambda: of("mean_overlp"),
        lambda: Curves("mean_overlp", title="t"),
        lambda: OverLayers("mean_overlp", title="t"),
        lambda: first_over_last("mean_overlp"),
        lambda: tracks("mean_overlap", "mean_overlp"),
        lambda: larger("mean_overlp", "a", "b"),
        lambda: took_place("mean_overlp", 0.5, "a"),
        lambda: labelled(print, "mean_overlp"),
    ],
)
def test_variables_are_told_where_they_are_declared(declared):
    with pytest.raises(InputError, match="unknown variable 'mean_overlp'; did you mean 'mean_overlap'"):
        declared()


def test_what_is_no_drawing_is_refused():
    with pytest.raises(InputError, match=r"f/g: drawing 'a' must be a drawing such as Curves\(...\), got 'text'"):
        Figure("f/g", "T", source="s", sizes=Scales(runs=2), draw={"a": "text"})


def test_a_study_that_is_no_figure_tells_instruments_before_it_trains(tmp_path):
    spec = studied(instruments=["mean_overlp"])(Scales(runs=1).at("smoke", "f/g"))
    with pytest.raises(InputError, match="f/g: unknown instrument 'mean_overlp'"):
        run_study(spec, Workspace(tmp_path))
    assert list(tmp_path.iterdir()) == []


def test_between_two_sums():
    data = results(a=0.5, b=0.9, c=0.75)
    inside = lies_between(SPEED, "c", {"a": 0.5, "b": 0.5}, {"b": 1})
    assert inside.region.verdict(inside.measure.effect(data)) == "holds"
    assert inside.measure.words.endswith(": how far c is below 0.5 a + 0.5 b or above b")
    for far in (0.55, 1.0):
        outside = inside.measure.effect(results(a=0.5, b=0.9, c=far))
        assert inside.region.verdict(outside) == "fails"
    assert outside.note == "above"


@pytest.mark.parametrize(("id", "least"), [("li2018/fig9", 2), ("li2018/fig2", 1), ("orhan2018/fig3", 1)])
def test_fewer_epochs_than_can_be_drawn_are_refused_by_the_options_name(id, least):
    found = registry.experiment(id)
    assert make_spec(found, "smoke", Overrides(epochs=least)).training.epochs == least
    with pytest.raises(InputError, match=rf"{id}: --epochs must be at least {least}\b.*, got {least - 1}$") as refused:
        make_spec(found, "smoke", Overrides(epochs=least - 1))
    assert "\n" not in str(refused.value)
