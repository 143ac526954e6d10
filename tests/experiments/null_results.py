"""Made-up results of any study, from its spec: some in which there is nothing to find, and some in which there is.

What a judge says of the first it would say of anything. There every network of a study is measured alike: each run of
each draws every variable from one and the same distribution. ``wandering`` networks learn, and whatever else is
measured of them walks at random from epoch to epoch; ``untrained`` ones stay at chance, and all that is measured stays
as it was at the start. ``different`` networks each have levels and trends of their own, far beyond the spread of their
runs, so that a judge of them decides, now this way and now that.
"""

from contextlib import contextmanager

import numpy as np
import xarray as xr

from nonsingular import intervals
from nonsingular.experiments.quantities import RANGES
from nonsingular.experiments.run.instruments import INSTRUMENTS, PERCENT

RUNS, EPOCHS, LAYERS, MODES = 10, 6, 32, 16
KINDS = ("wandering", "untrained", "different")


@contextmanager
def resampled(monkeypatch, times):
    """Within, intervals by resampling are of so many draws: verdicts of many claims and seeds take less time."""
    monkeypatch.setattr(intervals, "RESAMPLES", times)
    intervals._counts.cache_clear()
    yield
    intervals._counts.cache_clear()


def null_results(spec, kind, seed):
    """Results of a study's networks and instruments.

    Args:
        spec: of the study.
        kind: one of ``KINDS``.
        seed: of the draws.
    """
    rng = np.random.default_rng(seed)
    layers = min(max(m.network.depth for m in spec.networks), LAYERS)
    modes = min(max(getattr(m.network, "width", 1) for m in spec.networks), MODES)
    epochs = sorted({0, 1, 2, 3} | set(np.linspace(0, spec.training.epochs, EPOCHS).astype(int).tolist()))
    sizes = {"network": len(spec.networks), "run": RUNS, "epoch": len(epochs), "layer": layers, "mode": modes}
    data = {}
    for instrument in spec.instruments:
        for name, dims in INSTRUMENTS[instrument].variables.items():
            dims = ("network", "run", "epoch", *dims)
            data[name] = (dims, _values(rng, name, [sizes[d] for d in dims], kind))
    coordinates = {"network": [m.name for m in spec.networks], "run": np.arange(RUNS), "epoch": epochs}
    coordinates |= {"layer": np.arange(1, layers + 1), "mode": np.arange(1, modes + 1)}
    used = {d for dims, _ in data.values() for d in dims}
    attributes = {"data": spec.data.name, "scaling": spec.data.scaling}
    return xr.Dataset(data, {k: v for k, v in coordinates.items() if k in used}, attributes)


def _values(rng, name, shape, kind):
    runs = rng.normal(size=(*shape[:2], *[1] * (len(shape) - 2)))
    if kind == "different":
        return _different(rng, name, shape, 1e-3 * runs)
    steps = rng.normal(size=shape) if kind == "wandering" else np.zeros(shape)
    steps[:, :, 0] = rng.normal(size=[s for i, s in enumerate(shape) if i != 2])
    walk = np.cumsum(steps, axis=2) + runs
    if name.endswith("_accuracy"):
        if kind == "untrained":
            return 0.1 + 0.005 * rng.normal(size=shape)
        way = np.linspace(0, 1, shape[2]) ** 0.3
        return 0.1 + way * (0.75 + 0.03 * runs + 0.01 * rng.normal(size=shape))
    if name.endswith("_loss"):
        return 2.3 - (2.0 * np.linspace(0, 1, shape[2]) ** 0.3 + 0.1 * runs) * (kind == "wandering")
    if name == "unique_features":
        return np.full(shape, 8.0)
    if name in PERCENT or name.endswith("_breaking"):
        return 1 / (1 + np.exp(-walk))
    if name in RANGES:
        return np.tanh(walk)
    return np.exp(0.3 * walk)


def _different(rng, name, shape, runs):
    """Of each network its own level, and trends over epochs and layers."""
    one = (shape[0], 1, *[1] * (len(shape) - 2))
    if name.endswith(("_accuracy", "_loss")):
        ends = np.where(rng.random(one) < 0.15, rng.uniform(0.12, 0.4, one), rng.uniform(0.62, 0.95, one))
        way = 0.1 + np.linspace(0, 1, shape[2]) ** 0.3 * (ends - 0.1) + 0.1 * runs
        return way if name.endswith("_accuracy") else 2.3 * (1 - way)
    spread = rng.choice([1.0, 1e-2])  # now far apart, now nearly alike
    values = spread * (rng.normal(size=one) + runs)
    for axis in range(2, len(shape)):
        trend = np.linspace(-1, 1, shape[axis]).reshape([-1 if a == axis else 1 for a in range(len(shape))])
        values = values + spread * rng.normal(size=one) * trend
    if name == "unique_features":
        return np.exp2(np.round(2 + values))
    if name in PERCENT or name.endswith("_breaking"):
        return 1 / (1 + np.exp(-values))
    return np.tanh(values) if name in RANGES else np.exp(2 * values)
