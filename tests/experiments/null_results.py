"""Made-up results in which there is nothing to find: what a judge says of them it would say of anything.

Every network of a study is measured alike: each run of each draws every variable from one and the same distribution.
``wandering`` networks learn, and whatever else is measured of them walks at random from epoch to epoch; ``untrained``
ones stay at chance, and all that is measured stays as it was at the start.
"""

import numpy as np
import xarray as xr

from nonsingular.experiments.quantities import RANGES
from nonsingular.experiments.run.instruments import INSTRUMENTS, PERCENT

RUNS, EPOCHS, LAYERS, MODES = 10, 6, 32, 16
KINDS = ("wandering", "untrained")


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
