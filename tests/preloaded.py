"""Whatever the commands load while they work, loaded once for all processes that tests fork (``processes``)."""

import importlib

from nonsingular.papers.registry import experiments

for name in (
    "jinja2",
    "matplotlib.backends.backend_agg",
    "matplotlib.backends.backend_svg",
    "nonsingular.cli.app",
    "nonsingular.cli.progress",
    "nonsingular.cli.targets",
    "nonsingular.diagnosis",
    "nonsingular.experiments.reproducing",
    "nonsingular.landscape",
    "nonsingular.plots.landscape",
    "rich.table",
    "sklearn.datasets",
    "torch._dynamo",
    "xarray",
    "zarr.api.asynchronous",
):
    importlib.import_module(name)
experiments()
