"""Made-up results of every trained experiment of orhan2018: such as its claims describe, their opposite, and doubtful.

``agreeing(id)`` and ``contradicting(id)`` are results whose runs all show what the paper says, or its opposite.
``doubtful(id)`` has one run of each kind, or noise as large as the effect.
"""

import numpy as np
import xarray as xr

from nonsingular.experiments.run.instruments import INSTRUMENTS

RUNS, EPOCHS, LAYERS, MODES = 20, 6, 30, 128
DIMS = {name: dims for instrument in INSTRUMENTS.values() for name, dims in instrument.variables.items()}
SIZES = {"run": RUNS, "epoch": EPOCHS, "layer": LAYERS, "mode": MODES}
SPREAD = 1e-3  # of runs that agree, relative to effects of about 0.1
SMALL = {"gradient_norm", "skip_modulus"}  # variables with claims about tiny numbers: no spread is added
APART = {"skip_modulus": 1e-10}
"""Relative distance of runs that are else alike, 1e-6 of most variables: of equal runs nothing is known."""


def results(values, noise=SPREAD, runs=RUNS, seed=0, epochs=EPOCHS):
    """Results from variable -> {network: numbers that fit its dimensions}, with noise over runs."""
    rng = np.random.default_rng(seed)
    networks = list(dict.fromkeys(n for by_network in values.values() for n in by_network))
    sizes = SIZES | {"run": runs, "epoch": epochs}
    data = {}
    for name, by_network in values.items():
        dims = ("run", "epoch", *DIMS[name])
        shape = [sizes[d] for d in dims]
        rows = [np.broadcast_to(by_network.get(n, np.nan), shape) for n in networks]
        stacked = np.stack(rows).astype(float)
        if name not in SMALL:
            stacked += noise * rng.normal(size=(len(networks), runs, *[1] * (len(shape) - 1)))
        apart = np.random.default_rng([seed, 1]).normal(size=(len(networks), runs, 1, *shape[2:]))
        data[name] = (("network", *dims), stacked * (1 + APART.get(name, 1e-6) * apart))
    coordinates = {"network": networks, "run": np.arange(runs), "epoch": np.arange(epochs)}
    coordinates |= {"layer": np.arange(1, LAYERS + 1), "mode": np.arange(1, MODES + 1)}
    used = {d for dims, _ in data.values() for d in dims}
    return xr.Dataset(data, {k: v for k, v in coordinates.items() if k in used})


def scaled(sign, by_network):
    return {name: sign * value for name, value in by_network.items()}


def accuracies(sign, by_network):
    """As given, or in the opposite order, all between guessing and no error."""
    return {name: value if sign > 0 else 1 - value for name, value in by_network.items()}


def through_layers(decades):
    """A norm that changes by so many decades from the last layer to the first."""
    return 10.0 ** (decades * np.linspace(1, 0, LAYERS))


METHODS = ("moments", "lanczos")
SPEED = {"plain": 0.5, "residual": 0.6, "hyper-residual": 0.7}


def fig3(sign, noise=SPREAD):
    """Accuracy, degeneracy and negative shares in the paper's order (or the opposite), crossing at the last epoch."""
    order = scaled(sign, SPEED)
    data = results(
        {
            "train_accuracy": accuracies(sign, SPEED | {"hyper-orthogonal": 0.65}),
            **{f"degenerate_{method}": scaled(-1, order) for method in METHODS},
            **{f"negative_{method}": order for method in METHODS},
        },
        noise,
    )
    for method in METHODS:
        data[f"degenerate_{method}"][{"epoch": -1}] *= -0.1
    return data


def best_and_worst(sign, noise=1e-2, runs=100, epochs=12):
    """Runs whose accuracy rises with their number, and measures that follow it as figures 4, S2 and S7 say."""
    rank = xr.DataArray(np.linspace(0, 1, runs), dims="run")
    follow = dict.fromkeys(("weight_norm", "negative_exact", "test_accuracy"), 1) | dict.fromkeys(
        ("mean_overlap", "linear_dependence", "degenerate_moments", "degenerate_lanczos", "degenerate_exact"), -1
    )
    data = results({name: {"plain": 0.0} for name in follow}, noise, runs, seed=1, epochs=epochs)
    for name, slope in follow.items():
        data[name] = data[name] + slope * sign * rank
    # Gradients at the start: vanishing alike, or growing and the more so in the best, or on the edge of both.
    rng = np.random.default_rng(3)
    first = {1: 1e-6 * rank - 4, -1: 3 * rank, 0: 0 * rank + np.log10(0.5) + rng.normal(size=runs)}[sign]
    decades = first * xr.DataArray(np.linspace(1, 0, LAYERS), dims="layer")
    norms = (10.0**decades).expand_dims(network=["plain"], epoch=np.arange(epochs))
    data["gradient_norm"] = norms.transpose("network", "run", "epoch", "layer")
    accuracy = np.broadcast_to(0.3 + 0.6 * rank.values[None, :, None], (1, runs, epochs))
    return data.assign(train_accuracy=(("network", "run", "epoch"), accuracy))


def fig5(sign, noise=SPREAD):
    speed = {"residual": 0.7, "malicious": 0.68, "bias-regularised": 0.6, "bias-l2": 0.505, "plain": 0.5}
    degenerate = {"residual": 0.1, "malicious": 0.1, "bias-regularised": 0.5, "bias-l2": 0.5, "plain": 0.9}
    helped = {} if sign > 0 else {"bias-l2": 0.55}
    return results(
        {
            "train_accuracy": accuracies(sign, speed) | helped,
            "bias_gap": {"bias-regularised": 0.2},
            **{f"degenerate_{method}": scaled(sign, degenerate) for method in METHODS},
        },
        noise,
    )


def fig6(sign, noise=SPREAD):
    speed = {"plain": 0.5, "residual": 0.6, "malicious": 0.6, "bias-regularised": 0.55, "bias-regularised+bn": 0.59}
    flat, falling = (0.0, -4.0) if sign > 0 else (-4.0, 0.0)
    decades = dict.fromkeys(speed, flat) | {"plain": falling, "bias-regularised": falling if sign > 0 else 3.0}
    decades |= {} if sign > 0 else {"bias-regularised+bn": -8.0, "malicious": -8.0}
    norms = {name: through_layers(d) for name, d in decades.items()}
    gaps = {"bias-regularised": 0.2, "bias-regularised+bn": 0.2}
    return results({"train_accuracy": accuracies(sign, speed), "gradient_norm": norms, "bias_gap": gaps}, noise)


def fig7(sign, noise=SPREAD):
    from nonsingular.papers.orhan2018.fig7 import VECTORS

    speed = {name: 0.25 + 0.06 * np.log2(count) for name, count in VECTORS.items()} | {"residual": 0.65}
    speed["plain"] = speed["1-vector"] + 0.02
    silent = dict.fromkeys(speed, 0.3) | {"orthogonal": 0.3 - 0.1 * sign}
    decades = dict.fromkeys(speed, 0.0) | {"1-vector" if sign > 0 else "orthogonal": -3.0}
    norms = {name: through_layers(d) for name, d in decades.items()}
    values = {"silent_rectifier": silent, "zero_response": silent, "gradient_norm": norms}
    return results(values | {"train_accuracy": accuracies(sign, speed)}, noise)


def fig8(sign, noise=SPREAD):
    from nonsingular.papers.orhan2018.fig8 import COVARIANCE, TAUS

    taus = TAUS | COVARIANCE
    index = np.arange(MODES)
    rate = 1.0 if sign > 0 else 2.0
    falling = {name: np.exp(-rate * tau * index) for name, tau in taus.items()}
    # The larger tau, the larger the gradients and activations; or the smaller, and vanishing toward the first layer.
    norms = {name: 10 ** (100 * sign * tau) * through_layers(min(sign, 0) * 3) for name, tau in taus.items()}
    grown = {name: through_layers(sign * -100 * tau) for name, tau in taus.items()}
    data = results(
        {
            "train_accuracy": {name: 0.5 - 10 * sign * tau for name, tau in taus.items()},
            "gradient_norm": norms,
            "activation_norm": grown,
            "skip_modulus": dict.fromkeys(taus, 1 + (1e-8 if sign > 0 else 1e-2)),
            "skip_angle": dict.fromkeys(taus, np.linspace(-np.pi, np.pi, MODES)),
        },
        noise * 1e-2,
    )
    exact = results({"eigenvector_correlation": falling, "skip_correlation": falling}, 0.0)
    return xr.merge([data, exact])


def depth(sign, noise=SPREAD):
    from nonsingular.papers.orhan2018.parts.trainable_depth import DEPTHS

    def name(kind, depth):
        return f"{kind}-{depth}"

    ahead, behind = ("residual", "plain") if sign > 0 else ("plain", "residual")
    final = {name(ahead, d): 0.7 + 0.01 * k for k, d in enumerate(DEPTHS)}
    final |= {name(behind, d): g for d, g in zip(DEPTHS, (0.6, 0.55, 0.5, 0.3, 0.05, 0.01), strict=True)}
    rising = np.array([0.0] + [1.0] * (EPOCHS - 1))  # nothing is learnt at epoch 0
    return results({"train_accuracy": {n: value * rising for n, value in final.items()}}, noise)


def input_scale(sign, noise=SPREAD):
    from nonsingular.papers.orhan2018.parts.input_scalings import SCALINGS

    order = {"plain": 0.5, "residual": 0.6, "hyper-residual": 0.7, "orthogonal": 0.8}
    factor = {"plain": 0.5, "residual": 2.0, "hyper-residual": 2.0, "orthogonal": 1.5}
    if sign < 0:
        factor = {"plain": 1.0, "residual": 1.2, "hyper-residual": 1.2, "orthogonal": 2.5}
    layer = np.arange(LAYERS)
    studies = []
    for k, _ in enumerate(SCALINGS):
        speed = {n: v - 0.03 * k for n, v in accuracies(sign, order).items()}
        grow = {n: v if sign > 0 else v * (1 + 0.1 * k) for n, v in factor.items()}
        values = {
            "train_accuracy": speed,
            "logit_norm": scaled(-sign, speed),
            "below_epsilon": scaled(-sign, speed),
            "activation_norm": {n: 10.0**k * np.sqrt(v) ** layer for n, v in grow.items()},
        }
        # The same noise at every scale, as the same networks have.
        study = results(values, noise * 1e-3)
        study["activation_norm"] = results({"activation_norm": values["activation_norm"]}, 0.0, seed=k).activation_norm
        studies.append(study)
    return xr.concat(studies, xr.Variable("scaling", list(SCALINGS)))


def fig_s1(sign, noise=SPREAD):
    rises = {"plain": 0.4, "residual": 0.4 + 0.1 * sign}
    falls = scaled(-1, rises)
    accuracies = dict.fromkeys(("train_accuracy", "test_accuracy"), rises)
    return results({**accuracies, "negative_exact": rises, "degenerate_exact": falls}, noise)


def fig_s3(sign, noise=1e-5, runs=30):
    """Exact fractions that differ from run to run, and estimates that follow them with a bias."""
    exact = 0.999 + 1e-4 * np.linspace(0, 1, runs)
    negative = 1 - exact
    bias = 2e-4
    methods = {
        "degenerate_exact": exact,
        "negative_exact": negative,
        "positive_exact": 0 * exact,
        "degenerate_moments": sign * (exact - 0.999) + 0.999 - sign * bias,
        "negative_moments": sign * (negative - 0.001) + 0.001 + sign * bias,
        "positive_moments": 0 * exact,
    }
    distance = 1e-5 if sign > 0 else 1e-3
    for part, truth in (("degenerate", exact), ("negative", negative), ("positive", 0 * exact)):
        methods[f"{part}_lanczos"] = truth + distance
        methods[f"{part}_lanczos_low"] = truth + (-2 if sign > 0 else 0.5) * distance
        methods[f"{part}_lanczos_high"] = truth + 2 * distance
    rng = np.random.default_rng(2)
    data = {
        name: (("network", "run", "epoch"), np.tile(values[None, :, None], (1, 1, 2)))
        for name, values in methods.items()
    }
    for name in ("degenerate_moments", "negative_moments"):
        data[name] = (data[name][0], data[name][1] + noise * rng.normal(size=(1, runs, 2)))
    return xr.Dataset(data, {"network": ["plain"], "run": np.arange(runs), "epoch": [0, 1]})


def fig_s6(sign, noise=SPREAD):
    rises = {"plain": 0.4, "residual": 0.4 + 0.1 * sign}
    falls = scaled(-1, rises)
    epoch = np.arange(EPOCHS)
    # Gradients grow over the epochs; overlap and degeneracy fall, or grow too.
    change = -0.01 * sign * epoch
    first_over_second = 1.0 if sign > 0 else 0.1
    norms = {
        n: (1 + v + 0.05 * epoch)[:, None] * np.array([first_over_second] + [1.0] * (LAYERS - 1))
        for n, v in rises.items()
    }
    overlap = {n: np.tile((v + change)[:, None], (1, LAYERS)) for n, v in falls.items()}
    data = results(
        {
            "train_accuracy": {n: v + 0.01 * epoch for n, v in rises.items()},
            "test_accuracy": rises,
            "negative_exact": rises,
            "degenerate_exact": {n: v + change for n, v in falls.items()},
            "gradient_norm": norms,
            "mean_overlap": overlap,
        },
        noise,
    )
    return data.sel(layer=[1, 2])


BUILDERS = {
    "orhan2018/fig3": fig3,
    "orhan2018/fig4": best_and_worst,
    "orhan2018/fig5": fig5,
    "orhan2018/fig6": fig6,
    "orhan2018/fig7": fig7,
    "orhan2018/fig8": fig8,
    "orhan2018/depth": depth,
    "orhan2018/input-scale": input_scale,
    "orhan2018/figS1": fig_s1,
    "orhan2018/figS2": best_and_worst,
    "orhan2018/figS3": fig_s3,
    "orhan2018/figS6": fig_s6,
    "orhan2018/figS7": best_and_worst,
}


def agreeing(id):
    """Every run shows what the claims say."""
    return BUILDERS[id](+1)


def contradicting(id):
    """Every run shows the opposite."""
    return BUILDERS[id](-1)


def doubtful(id):
    """Too noisy to tell: runs that agree and runs that contradict in equal number, or noise alone."""
    builder = BUILDERS[id]
    if builder is best_and_worst:  # its runs are compared with each other
        return builder(0, noise=1.0)
    if builder is fig_s3:
        return _doubtful_estimates()
    halves = [builder(sign).isel(run=[0]).assign_coords(run=[run]) for run, sign in enumerate((+1, -1))]
    return xr.concat(halves, "run", join="outer")


def _doubtful_estimates():
    """Estimates scattered evenly about the truth and unrelated to it; one interval in eight misses."""
    data = fig_s3(+1, noise=0.0, runs=8)
    even = xr.DataArray([1.0, -1.0, -1.0, 1.0, 1.0, -1.0, -1.0, 1.0], dims="run")  # orthogonal to a straight line
    for part in ("degenerate", "negative"):
        truth = data[f"{part}_exact"]
        data[f"{part}_moments"] = truth.mean() + 1e-3 * even + 0 * truth
        data[f"{part}_lanczos"] = truth + 1e-3 * (1 + even)
    missed = 1e-3 * xr.DataArray(np.arange(8) == 0, dims="run")
    return data.assign(
        degenerate_lanczos_low=data.degenerate_lanczos_low + missed,
        degenerate_lanczos_high=data.degenerate_lanczos_high + missed,
    )
