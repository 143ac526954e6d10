"""Whatever the commands load while they work, loaded once for all processes that tests fork (``processes``)."""

import gc
import importlib
import io

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

# The first picture takes a second longer than all that follow: fonts are read, and letters are measured.
from nonsingular.plots.style import new_figure, style  # noqa: E402

with style():
    picture = new_figure()
    picture.subplots().plot([1, 10], [1, 10], label="$10^1$")
    for kind in ("png", "svg"):
        picture.savefig(io.BytesIO(), format=kind)
gc.freeze()  # or the first collection of each process copies all pages that it shares with this one
