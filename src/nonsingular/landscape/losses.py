"""The loss at many points of weight space: the work that every surface, line and trajectory consists of.

The model is copied, so the caller's is never touched. Fully-connected networks are computed at many points in one
vectorised call, their first layer by adding up; convolutional ones point by point in channels-last order, with batch
normalisation folded into the convolutions, in pieces of the data that stay in the processor's cache.
"""

from __future__ import annotations

import functools
import io
import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import redirect_stderr
from typing import Any, Unpack

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from nonsingular import onednn
from nonsingular.checks import checked
from nonsingular.curvature.problem import Problem
from nonsingular.errors import InputError
from nonsingular.landscape.fitting import Direction, fitted
from nonsingular.landscape.folding import Folded, fold
from nonsingular.landscape.metrics import Metrics, accuracy, chosen
from nonsingular.landscape.pieces import Pieces
from nonsingular.landscape.sharing import Forwards, Shared, computing, linear_layers, share
from nonsingular.landscape.statistics import STATISTICS, normalisations, recomputed
from nonsingular.landscape.subset import estimate
from nonsingular.machine import WORTH
from nonsingular.objective import (
    FAILURES,
    Batch,
    Loss,
    Objective,
    Options,
    brought,
    first_line,
    is_out_of_memory,
    out_of_memory,
    require_bytes,
    skips_first,
    told,
)
from nonsingular.spelling import spelled
from nonsingular.words import counted

PRECISIONS = ("float32", "bfloat16", "auto")
CACHED_IMAGES = 32
"""Images a thread of a piece, for convolutional networks on a CPU: more fall out of its cache, fewer leave it idle."""
POINTS_BYTES = {"cpu": 2**20, "cuda": 2**28}
"""Points are computed side by side while their weights, and their widest activations, take no more than this."""
MOST_POINTS = 256
FEWEST_POINTS = 4
"""With fewer side by side a vectorised call is slower than one after another (benchmarks/test_landscape.py)."""

Points = Float[np.ndarray, "point direction"]
Values = Float[np.ndarray, " point"]
Quantities = Float[np.ndarray, "point quantity"]


@checked
class Losses:
    """The loss as a function of coordinates: at ``c`` the weights are the model's plus the sum of ``c_k`` directions.

    Args:
        model: any module, the centre, or an `Objective` in place of model, loss and batches. It is copied; the original
            is never touched.
        loss_fn: as `Objective` takes it: (model output, target) -> scalar, (model, batch) -> scalar, or None.
        batches: as `Objective` takes data: a pair (inputs, target), or batches. Read once.
        directions: one for each coordinate.
        metrics: measured beside the loss in the same pass: names of ``METRICS``, or {name: function of (output,
            target)} that gives the mean over a batch's samples; of (model, batch) where the loss is of that form.
        statistics: ``given``: running statistics of batch normalisation are the model's, and move where a direction
            moves them; ``recomputed``: at every point those of the batches, as PyTorch's ``update_bn`` takes them.
        samples: use a random subset of so many samples, the same at every point; None uses all.
        subset_seed: of the subset.
        reduction: ``mean``: the loss averages over a batch's samples; ``sum``: it adds them up.
        microbatch: samples of a piece; by default what suits the model and the device.
        precision: ``float32`` (the model's own precision), ``bfloat16`` (mixed), or ``auto``: mixed where a trial finds
            it faster and its error small (see ``choose_precision``).
        folded: fold batch normalisation into convolutions.
        shared: add up what layers of the data give with the centre's weights and each direction's, computed once.
        vectorised: compute several points in one call; by default where the model has no convolutions and is small.
        total: adds a vector up over all processes that hold a part of the data, where statistics are recomputed.
        **options: ``form``, ``weights``, ``seed`` and ``mode`` of `Objective`.

    Attributes:
        objective: model, loss and data.
        quantities: ``loss``, and the names of the metrics.
        samples: used at every point.
        total: samples given.
        precision: of the computation, decided.
        how: in words, which of the fast ways are taken.
        notes: what was decided for the user beside the objective's, in words.

    Raises:
        InputError: no batches, a direction that does not fit the model, a loss that is not a finite scalar at the
            centre, a metric that fails or gives no number, numbers out of range.

    >>> import numpy as np
    >>> import torch
    >>> import nonsingular as ns
    >>> model, batch = torch.nn.Linear(3, 2), (torch.randn(8, 3), torch.arange(8) % 2)
    >>> direction = ns.landscape.gaussian(model, 0)
    >>> losses = ns.landscape.Losses(model, torch.nn.functional.cross_entropy, [batch], [direction])
    >>> values, errors = losses(np.array([[0.0], [0.5]]))
    >>> values.shape
    (2,)
    """

    @spelled
    def __init__(
        self,
        model: nn.Module | Objective,
        loss_fn: Loss | None,
        batches: Any,
        directions: Sequence[Direction],
        *,
        metrics: Metrics = (),
        statistics: str = "given",
        samples: int | None = None,
        subset_seed: int = 0,
        reduction: str = "mean",
        microbatch: int | None = None,
        precision: str = "float32",
        folded: bool = True,
        shared: bool = True,
        vectorised: bool | None = None,
        total: Callable[[Tensor], Tensor] | None = None,
        **options: Unpack[Options],
    ) -> None:
        if precision not in PRECISIONS:
            raise InputError(f"unknown precision {precision!r}; there are {', '.join(PRECISIONS)}")
        objective = brought(model, loss_fn, batches, reduction=reduction, **options)
        directions = [fitted(d, objective.model, f"direction {k}") for k, d in enumerate(directions, 1)]
        weights = sum(p.numel() * p.element_size() for p in objective.model.parameters())
        require_bytes(
            (2 + len(directions)) * weights,
            objective.device,
            "a copy of weights and directions",
            "take a smaller model",
        )
        names = [n for n, _ in objective.model.named_parameters()]
        self.reduction = objective.reduction
        self._problem = Problem(objective, names, None)
        self.objective = objective.on(self._problem.batches, self._problem.weights)
        self._centre = {**objective.buffers, **dict(zip(names, self._problem.params, strict=True))}
        self._directions = [self._alike(d) for d in directions]
        self._metrics = chosen(metrics)
        self._total = total or (lambda t: t)
        self.quantities = ("loss", *self._metrics)
        self._check_metrics()
        self.total = sum(b.samples for b in self._problem.batches)
        self.samples = self.total if samples is None else samples
        if not 1 <= self.samples <= self.total:
            raise InputError(f"samples must be between 1 and the {self.total} given, got {self.samples}")
        self.precision = "bfloat16" if precision == "bfloat16" else "float32"
        self.notes: list[str] = []
        self._pieces = self._cut(microbatch, subset_seed)
        self._folded: Folded | None = None
        self._shared: Shared | None = None
        self._by_onednn: Forwards = {}
        self._normalisations = self._to_recompute(statistics)
        self._check_centre()
        self._folded = self._fold() if folded else None
        if shared and self._folded is None:
            self._quicken()
        if vectorised is None:
            vectorised = not self._problem.convolutional and self._points_at_once() >= FEWEST_POINTS
        self._vectorised = vectorised and not self._normalisations and self._can_vectorise()

    @property
    def device(self) -> torch.device:
        """Of the computation."""
        return self._problem.device

    # --- what is asked for ----------------------------------------------------------------------------------

    @property
    def how(self) -> str:
        """Which of the fast ways are taken."""
        ways = [self.precision]
        if self._vectorised:
            ways.append(f"up to {counted(self._points_at_once(), 'point')} side by side")
        if self._folded is not None:
            ways.append("batch normalisation folded")
        if self._shared is not None:
            ways.append("first layer shared")
        if self._normalisations:
            ways.append("statistics recomputed")
        if any(isinstance(m, nn.Conv2d) for m in self._problem.model.modules()):
            ways.append("channels-last")
        return ", ".join(ways)

    def __call__(self, points: Points) -> tuple[Values, Values]:
        """Losses at ``points`` and their standard errors, as ``evaluate`` gives them beside the metrics."""
        values, errors = self.evaluate(points)
        return values[:, 0], errors[:, 0]

    def evaluate(
        self, points: Points, on_point: Callable[[int, np.ndarray, np.ndarray], None] = lambda i, values, errors: None
    ) -> tuple[Quantities, Quantities]:
        """The loss and the metrics at ``points``, and their standard errors.

        Args:
            points: coordinates, one row a point.
            on_point: called with (row, values, standard errors) as each point is done.

        Returns:
            Values, the loss first (NaN or infinite where the model or the loss is, NaN where a running variance is
            moved below zero), and the standard errors of taking a subset: 0 where all samples are used, NaN where one
            sample gives none.
        """
        shape = len(points), len(self.quantities)
        found, errors = np.empty(shape), np.empty(shape)
        width = self._points_at_once() if self._vectorised else 1
        for start in range(0, len(points), width):
            rows = range(start, min(start + width, len(points)))
            # Calls of one size: a point's loss is then the same to the bit whichever points it is computed beside.
            beside = points[[*rows, *[start] * (width - len(rows))]]
            with torch.no_grad():
                values = self._stacked(beside)[: len(rows)] if self._vectorised else self._one(points[start])[None]
            values = np.where(self.possible(points[list(rows)])[:, None, None], values, math.nan)
            for row, pieces in zip(rows, values, strict=True):
                found[row], errors[row] = self._summary(pieces)
                on_point(row, found[row], errors[row])
        return found, errors

    def choose_precision(self, points: Points, tolerance: float) -> None:
        """Go on in bfloat16 if that is ``machine.WORTH`` times as fast on ``points`` and right there.

        A model that cannot be computed so stays in float32, and ``notes`` say why.

        Args:
            points: a few that are representative.
            tolerance: largest root-mean-square error of the losses' logarithm, as a share of its range.
        """
        exact, slow = self._tried("float32", points)
        try:
            rough, fast = self._tried("bfloat16", points)
        except (InputError, *FAILURES) as failure:
            self.notes.append(f"computed in float32: in bfloat16 the model fails: {first_line(failure)}")
            return
        finally:
            self.precision = "float32"
        if np.isfinite(exact).all() and np.isfinite(rough).all() and (exact > 0).all() and (rough > 0).all():
            error = math.sqrt(np.mean((np.log(rough) - np.log(exact)) ** 2))
            if error <= tolerance * np.ptp(np.log(exact)) and slow > WORTH * fast:
                self.precision = "bfloat16"

    def _tried(self, precision: str, points: Points) -> tuple[Values, float]:
        """Losses in a precision, and the seconds that they take."""
        self.precision = precision
        self(points[:1])  # warm
        start = time.perf_counter()
        return self(points)[0], time.perf_counter() - start

    # --- one point, or several ------------------------------------------------------------------------------

    def _one(self, point: Sequence[float], pieces: Sequence[Batch] | None = None) -> np.ndarray:
        """Values ``[piece, quantity]`` at one point."""
        state = dict(self._centre)
        for c, direction in zip(point, self._directions, strict=True):
            if c:
                for name, d in direction.items():
                    state[name] = torch.add(state[name], d, alpha=float(c))
        if self._normalisations:
            state |= self._recomputed(state, self._normalisations)
        objective = self.objective
        if self._folded is not None:
            objective, state = self._folded_objective, self._folded.state(state)
        at = torch.tensor(point, dtype=self._problem.dtype, device=self.device)
        with computing(self._forwards(at, self._by_onednn)):
            values = [self._measured(objective, state, b) for b in pieces or self._pieces.batches]
        return torch.stack(values).double().cpu().numpy()

    def possible(self, points: Points) -> Bool[np.ndarray, " point"]:
        """Where no running variance is negative, as it may become beyond the ends of a line between two networks."""
        possible = np.ones(len(points), bool)
        if self._normalisations:  # all of them are taken anew
            return possible
        for name in {n for d in self._directions for n in d if n.endswith("running_var")}:
            if self.objective.model.get_submodule(name.rpartition(".")[0]).training:
                continue  # the batch's are taken
            centre = self._centre[name]
            moves = torch.stack([d.get(name, torch.zeros_like(centre)) for d in self._directions])
            variances = centre.double().cpu().numpy() + points @ moves.double().cpu().numpy()
            possible &= (variances >= 0).all(axis=1)
        return possible

    def _stacked(self, points: Points, pieces: Sequence[Batch] | None = None) -> np.ndarray:
        """Values ``[point, piece, quantity]``."""
        c = torch.as_tensor(points, dtype=self._problem.dtype, device=self._problem.device)
        moved = {}
        for name in {n for d in self._directions for n in d}:
            centre = self._centre[name]
            moved[name] = centre.expand(len(points), *centre.shape)
            for k, direction in enumerate(self._directions):
                if name in direction:
                    moved[name] = moved[name] + c[:, k].view(-1, *[1] * centre.dim()) * direction[name]

        def at(moved: dict[str, Tensor], point: Tensor) -> Tensor:
            state = {**self._centre, **moved}
            with computing(self._forwards(point, {})):
                values = [self._measured(self.objective, state, b) for b in pieces or self._pieces.batches]
            return torch.stack(values)

        return torch.vmap(at)(moved, c).double().cpu().numpy()

    def _forwards(self, point: Tensor, otherwise: Forwards) -> Forwards:
        """What layers compute by other ways than their own."""
        if self.precision == "bfloat16":  # whose products are quicker
            return {}
        return otherwise if self._shared is None else {**otherwise, **self._shared.at(point, otherwise)}

    def _measured(self, objective: Objective, state: Mapping[str, Tensor], batch: Batch) -> Tensor:
        """The loss and the metrics of one piece, ``[quantity]``."""
        mixed, metrics = self.precision == "bfloat16", list(self._metrics.values())
        try:
            values = objective.measured(state, batch, metrics, mixed)
        except RuntimeError as error:
            if is_out_of_memory(error):
                raise out_of_memory(batch) from error
            raise
        return torch.stack([torch.as_tensor(v, device=objective.device).double().reshape(()) for v in values])

    def _recomputed(self, state: Mapping[str, Tensor], layers: dict[str, nn.Module]) -> dict[str, Tensor]:
        """Running statistics at other weights, of the whole batches."""
        return recomputed(layers, self._passes(state, layers), self._total)

    def _passes(self, state: Mapping[str, Tensor], layers: dict[str, nn.Module]) -> Iterator[Callable[[], Any]]:
        training = self.objective.training(layers.values())
        return (functools.partial(training.measured, state, batch, []) for batch in self._pieces.whole)

    def _summary(self, pieces: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Values and standard errors ``[quantity]``: losses add up or average, metrics average."""
        samples = [float(b.samples) for b in self._pieces.batches]
        counts = samples if self.reduction == "sum" else [w * self.samples for w in self._pieces.weights]
        found = [estimate(pieces[:, 0], counts, self.total, self.reduction)]
        found += [estimate(column, counts, self.total) for column in pieces.T[1:]]
        return tuple(np.array(x) for x in zip(*found, strict=True))  # type: ignore[return-value]

    # --- preparation ----------------------------------------------------------------------------------------

    def _alike(self, direction: Direction) -> Direction:
        """On the model's device, of its type and memory order."""
        return {n: torch.empty_like(self._centre[n]).copy_(d) for n, d in direction.items()}

    def _check_metrics(self) -> None:
        """Refuse metrics that fail, give no number, give another one each time, or compare what the loss does not."""
        batch = self.objective.batches[0]
        for name, metric in self._metrics.items():
            if metric is accuracy and skips_first(self.objective):
                raise InputError(
                    "the loss predicts the entries after the first of each target's row, accuracy compares scores with "
                    "the targets beside them: give a function of (output, target) that shifts one against the other"
                )
            try:
                value, again = (self.objective.measured(self._centre, batch, [metric])[1] for _ in range(2))
                number = torch.as_tensor(value)
            except FAILURES as error:
                if isinstance(error, InputError):
                    raise
                raise InputError(f"metric {name} failed on the first batch: {told(error)}") from error
            if number.numel() != 1:
                raise InputError(
                    f"metric {name} must return a number, got shape {tuple(number.shape)}; take its mean over samples"
                )
            if not np.isclose(float(number), float(again), rtol=1e-4, atol=1e-6, equal_nan=True):
                raise InputError(
                    f"metric {name} gives another number each time: make it a function of what it is given, or give "
                    "seed= for the same random numbers at every point"
                )

    def _check_centre(self) -> None:
        try:
            with torch.no_grad():
                loss = float(self._one([0.0] * len(self._directions), self._pieces.batches[:1])[0, 0])
        except FAILURES as error:
            if self.precision == "float32" or isinstance(error, InputError):
                raise
            raise InputError(f"in bfloat16 the model fails: {first_line(error)}; take precision float32") from error
        if not math.isfinite(loss):
            raise InputError(f"the loss at the centre is {loss}: look at the model's weights and the inputs")

    def _to_recompute(self, statistics: str) -> dict[str, nn.Module]:
        """Batch normalisations whose statistics are taken anew at every point."""
        if statistics not in STATISTICS:
            raise InputError(f"unknown statistics {statistics!r}; there are {', '.join(STATISTICS)}")
        if statistics == "given":
            return {}
        found = normalisations(self.objective.model)
        if not found:
            raise InputError("the model has no batch normalisation with running statistics: nothing to recompute")
        if all(m.training for m in found.values()):
            raise InputError(
                "in training mode batch normalisation takes each batch's statistics: recompute them with mode='eval'"
            )
        failure: Exception | None = None
        try:
            with torch.no_grad():
                recomputed(found, self._passes(self._centre, found))
        except FAILURES as error:
            failure = error
        if self._total(torch.tensor([float(failure is not None)])) > 0:  # told to all, so that none waits for another
            why = first_line(failure) if failure else "another process cannot"
            raise InputError(f"the statistics cannot be recomputed: {why}") from failure
        return found

    def _cut(self, microbatch: int | None, seed: int) -> Pieces:
        if microbatch is not None and microbatch < 1:
            raise InputError(f"microbatch must be at least 1, got {microbatch}")
        cached = self._problem.convolutional and self._problem.device.type == "cpu"
        size = microbatch or (CACHED_IMAGES * torch.get_num_threads() if cached else 1024)
        return Pieces.of(
            self.objective, self._metrics, size=size, asked=microbatch is not None, samples=self.samples, seed=seed
        )

    def _fold(self) -> Folded | None:
        """The folded network, if it gives the same losses at the centre and off it."""
        given = self.objective
        found = fold(given.model) if given.form == "output" and not given.follows else None
        if found is None:
            return None
        first = self._pieces.batches[:1]
        points = [[c] * len(self._directions) for c in (0.0, 0.5)]
        with torch.no_grad():
            plain = [self._one(point, first)[:, 0] for point in points]
            try:
                # A module that was traced prints what it fails on, such as an argument that may be left out.
                with redirect_stderr(io.StringIO()):
                    objective = Objective(
                        found.module, given.loss_fn, [(first[0].inputs, first[0].target)], form="output",
                        reduction=self.reduction, seed=given.seed, mode="own",
                    )  # fmt: skip
                    self._folded, self._folded_objective = found, objective
                    again = [self._one(point, first)[:, 0] for point in points]
            except (InputError, *FAILURES):
                self._folded = None
                return None
        return found if np.allclose(plain, again, rtol=1e-3, atol=1e-6, equal_nan=True) else None

    def _quicken(self) -> None:
        """Share layers of the data and compute large ones by oneDNN, if that gives the same losses."""
        first = self._pieces.batches[:1]
        points = [[c] * len(self._directions) for c in (0.0, 0.5)]
        with torch.no_grad():
            plain = [self._one(point, first)[:, 0] for point in points]
            self._shared = share(self.objective, self._centre, self._directions, self._pieces.batches)
            if onednn.available():
                self._by_onednn = {m: functools.partial(onednn.forward, m) for m in linear_layers(self.objective.model)}
            again = [self._one(point, first)[:, 0] for point in points]
        if not np.allclose(plain, again, rtol=1e-3, atol=1e-6, equal_nan=True):
            self._shared, self._by_onednn = None, {}

    def _can_vectorise(self) -> bool:
        """Whether a vectorised call works and gives what one point after another gives."""
        points = np.array([[0.0] * len(self._directions), [0.5] * len(self._directions)])
        first = self._pieces.batches[:1]
        try:
            with torch.no_grad():
                together = self._stacked(points, first)
                alone = np.stack([self._one(p, first) for p in points])
        except Exception:  # a model or loss that vmap cannot see through; one after another is equally right
            return False
        return np.allclose(together, alone, rtol=1e-3, atol=1e-6, equal_nan=True)

    def _points_at_once(self) -> int:
        weights = sum(p.numel() for p in self._problem.params)
        widest = max(b.samples for b in self._pieces.batches) * max(
            (m.out_features for m in self._problem.model.modules() if isinstance(m, nn.Linear)), default=1
        )
        size = torch.empty(0, dtype=self._problem.dtype).element_size()
        room = POINTS_BYTES.get(self._problem.device.type, POINTS_BYTES["cpu"])
        return min(MOST_POINTS, max(1, room // (size * max(weights, widest))))
