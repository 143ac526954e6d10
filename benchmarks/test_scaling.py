"""What work costs, measured over sizes, and a model of it that is tested where it was not fitted: docs/scaling.md.

``pytest benchmarks/test_scaling.py --full -s`` prints the tables. A model is a sum of terms with coefficients that are
not negative, fitted by least squares of the relative error on half of the sizes; the error is stated at the others.
Seconds are processor time on one thread. Takes about a minute.
"""

from __future__ import annotations

import contextlib
import ctypes
import math
import re
from collections.abc import Callable, Mapping
from itertools import product
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from scipy.optimize import nnls

from interleaved import interleaved
from nonsingular.curvature import Hessian
from nonsingular.data import Task
from nonsingular.networks import build, named
from nonsingular.onednn import LARGE
from nonsingular.training import Trainer, TrainingSpec

INPUTS, CLASSES = 128, 10
Size = Mapping[str, float]
Terms = Callable[[Size], list[float]]


def timed(work: Callable[[], object], repeats: int = 3) -> float:
    """Median seconds after one call that does not count."""
    return interleaved({"": work}, repeats, 1)[""].median


def in_memory(what: str) -> int:
    """Bytes that the process holds (``VmRSS``), or held at most since it was reset (``VmHWM``); Linux only."""
    found = re.search(rf"{what}:\s+(\d+) kB", Path("/proc/self/status").read_text())
    return 1024 * int(found[1])  # type: ignore[index]


def forget_peak() -> int:
    """Give back what is free and begin the peak anew; the bytes held now."""
    ctypes.CDLL(None).malloc_trim(0)
    Path("/proc/self/clear_refs").write_text("5")
    return in_memory("VmRSS")


def samples_of(count: int) -> tuple[torch.Tensor, torch.Tensor]:
    return torch.randn(count, INPUTS), torch.arange(count) % CLASSES


def hessian_product(depth: int, width: int, samples: int) -> dict[str, float]:
    """Seconds of a product and bytes of the recordings it needs."""
    network = build(named("plain", depth=depth, width=width), INPUTS, CLASSES, 0)
    H = Hessian(network, F.cross_entropy, [samples_of(samples)])
    v = torch.randn(H.shape[0])
    seconds = timed(lambda: H @ v)
    size = {"depth": depth, "width": width, "samples": samples, "parameters": H.shape[0]}
    return {**size, "seconds": seconds, "bytes": H.nbytes}


def training_step(depth: int, width: int, runs: int, batch: int) -> dict[str, float]:
    """Seconds of one step of a population of ``runs`` networks, and the memory that it takes beyond the data's."""
    x, y = samples_of(4 * batch)
    before, held = math.nan, math.nan
    with contextlib.suppress(OSError, AttributeError):
        before = forget_peak()
    networks = [build(named("plain", depth=depth, width=width), INPUTS, CLASSES, k) for k in range(runs)]
    trainer = Trainer(networks, range(runs), Task(x, y, x[:10], y[:10], CLASSES), TrainingSpec(batch=batch))
    parameters = sum(p.numel() for p in networks[0].parameters())
    del networks
    seconds = timed(trainer.train_epoch, 1) / trainer.steps
    with contextlib.suppress(OSError, AttributeError):
        held = in_memory("VmHWM")
    size = {"depth": depth, "width": width, "runs": runs, "batch": batch, "parameters": parameters}
    # Pages are counted: what a small step takes may have been there.
    return {**size, "seconds": seconds, "bytes": held - before if held > before else math.nan}


def fit(rows: list[dict[str, float]], what: str, terms: Terms) -> tuple[np.ndarray, float]:
    """Coefficients from one half of the rows, and the median relative error at the others; prints both."""
    matrix, values = np.array([terms(r) for r in rows]), np.array([r[what] for r in rows])
    weighted = matrix / values[:, None]
    fitted = np.isin(np.arange(len(rows)) % 4, (0, 3))  # not every second: that would be one number of samples
    coefficients, _ = nnls(weighted[fitted], np.ones(fitted.sum()))
    errors = np.abs(weighted[~fitted] @ coefficients - 1)
    print(f"  {what}: coefficients {', '.join(f'{c:.3g}' for c in coefficients)}; relative error where not fitted: "
          f"median {100 * np.median(errors):.0f} %, largest {100 * errors.max():.0f} %")  # fmt: skip
    return coefficients, float(np.median(errors))


def product_terms(r: Size) -> list[float]:
    """Calls; samples times parameters, in small products and in large ones; samples times units."""
    work, units = r["samples"] * r["parameters"], r["depth"] * r["width"]
    large = r["samples"] * r["width"] ** 2 >= LARGE
    return [r["depth"], 0 if large else work, work if large else 0, r["samples"] * units]


def memory_terms(r: Size) -> list[float]:
    """Parameters; samples times units."""
    return [r["parameters"], r["samples"] * r["depth"] * r["width"]]


def step_terms(r: Size) -> list[float]:
    """Calls; runs times samples times parameters, in small products and in large ones, and times units."""
    work, units = r["runs"] * r["batch"] * r["parameters"], r["depth"] * r["width"]
    large = r["batch"] * r["width"] ** 2 >= LARGE
    return [r["depth"], 0 if large else work, work if large else 0, r["runs"] * r["batch"] * units]


def step_memory_terms(r: Size) -> list[float]:
    """Fixed; runs times parameters."""
    return [1, r["runs"] * r["parameters"]]


def show(title: str, rows: list[dict[str, float]]) -> None:
    print(f"\n{title}, {torch.get_num_threads()} threads")
    for r in rows:
        print("  " + ", ".join(f"{k} {v:.3g}" if isinstance(v, float) else f"{k} {v}" for k, v in r.items()))


def test_costs_follow_their_models(full: bool) -> None:
    """Modelled within a quarter, in the median, at sizes that the model was not fitted to."""
    torch.manual_seed(0)
    sizes = product((5, 10, 20), (32, 64, 128, 256, 512), (500, 2000)) if full else product((2, 3), (4, 8), (10,))
    products = [hessian_product(*size) for size in sizes]
    show("Hessian product of fully-connected networks", products)
    seconds, off = fit(products, "seconds", product_terms)
    memory, memory_off = fit(products, "bytes", memory_terms)
    sizes, batch = (product((10, 30), (16, 64, 128), (1, 10, 50)), 500) if full else (product((2,), (4, 8), (1, 3)), 10)
    steps = [training_step(*size, batch) for size in sizes]
    show(f"training step of populations, batch {batch}", steps)
    step, step_off = fit(steps, "seconds", step_terms)
    if not any(math.isnan(r["bytes"]) for r in steps):
        fit(steps, "bytes", step_memory_terms)
    print("\nmodelled:")
    width = 7071  # twenty hidden layers of so many units have a billion parameters
    large = {"depth": 20, "width": width, "samples": 5000, "parameters": 20 * width**2}
    print(f"  a Hessian product, {large['parameters']:.2g} parameters, 5 000 samples: "
          f"{product_terms(large) @ seconds:.0f} s, recordings {memory_terms(large) @ memory / 2**30:.0f} GiB, "
          f"a vector {4 * large['parameters'] / 2**30:.1f} GiB")  # fmt: skip
    many = {"depth": 20, "width": 128, "runs": 10_000, "batch": 500, "parameters": 709_652}
    print(f"  a step of 10 000 networks of 709 652 parameters: {step_terms(many) @ step:.0f} s; "
          f"100 epochs of 200 steps: {20_000 * (step_terms(many) @ step) / 86_400:.0f} days")  # fmt: skip
    assert not full or max(off, memory_off, step_off) < 0.25
