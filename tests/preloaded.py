"""Whatever the commands load while they work, loaded once for all processes that tests fork (``processes``)."""

import gc
import importlib

from nonsingular.papers.registry import experiments

for name in (
    "filelock",
    "jinja2",
    "matplotlib.backends.backend_agg",
    "matplotlib.backends.backend_svg",
    "matplotlib.tri",
    "mpl_toolkits.mplot3d",
    "nonsingular.cli.app",
    "nonsingular.cli.progress",
    "nonsingular.cli.targets",
    "nonsingular.diagnosis",
    "nonsingular.experiments.reproducing",
    "nonsingular.landscape",
    "nonsingular.plots.landscape",
    "pydantic",
    "rich.table",
    "sklearn.datasets",
    "torch._dynamo",
    "xarray",
    "zarr.api.asynchronous",
):
    importlib.import_module(name)
experiments()

gc.freeze()  # or the first collection of each process copies all pages that it shares with this one
