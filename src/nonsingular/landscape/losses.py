"""The loss at many points of weight space: the work that every surface, line and trajectory consists of.

The model is copied, so the caller's is never touched. Fully-connected networks are computed at many points in one
vectorised call; convolutional ones point by point in channels-last order, with batch normalisation folded into the
convolutions, in pieces of the data that stay in the processor's cache.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.utils._pytree import tree_map_only

from nonsingular.curvature.problem import Problem
from nonsingular.errors import InputError
from nonsingular.landscape.fitting import Direction, fitted
from nonsingular.landscape.folding import Folded, fold
from nonsingular.landscape.subset import estimate, subset
from nonsingular.objective import Batch, Loss, Objective, brought, is_out_of_memory, out_of_memory

PRECISIONS = ("float32", "bfloat16", "auto")
CACHED_IMAGES = 32
"""Images a thread of a piece, for convolutional networks on a CPU: more fall out of its cache, fewer leave it idle."""
PIECES = 16
"""Pieces that a random subset is cut into at least, so that their spread gives a standard error."""
POINTS_BYTES = {"cpu": 2**20, "cuda": 2**28}
"""Points are computed side by side while their weights, and their widest activations, take no more than this."""
MOST_POINTS = 256
FEWEST_POINTS = 4
"""With fewer side by side a vectorised call is slower than one after another (benchmarks/test_landscape.py)."""

Points = Float[np.ndarray, "point direction"]
Values = Float[np.ndarray, " point"]


class Losses:
    """The loss as a function of coordinates: at ``c`` the weights are the model's plus the sum of ``c_k`` directions.

    Args:
        model: any module, the centre. It is copied and evaluated in evaluation mode; the original is never touched.
        loss_fn: (model output, target) -> scalar.
        batches: (inputs, target) pairs, as ``curvature.Hessian`` takes them. Read once.
        directions: one for each coordinate.
        samples: use a random subset of so many samples, the same at every point; None uses all.
        seed: of the subset.
        reduction: ``mean``: the loss averages over a batch's samples; ``sum``: it adds them up.
        microbatch: samples of a piece; by default what suits the model and the device.
        precision: ``float32`` (the model's own precision), ``bfloat16`` (mixed), or ``auto``: mixed where a trial finds
            it faster and its error small (see ``choose_precision``).
        folded: fold batch normalisation into convolutions.
        vectorised: compute several points in one call; by default where the model has no convolutions and is small.

    Attributes:
        samples: used at every point.
        total: samples given.
        precision: of the computation, decided.
        how: in words, which of the fast ways are taken.

    Raises:
        InputError: no batches, a direction that does not fit the model, a loss that is not a finite scalar at the
            centre, numbers out of range.
    """

    def __init__(
        self,
        model: nn.Module,
        loss_fn: Loss,
        batches: Iterable[tuple[Any, Any]],
        directions: Sequence[Direction],
        *,
        samples: int | None = None,
        seed: int = 0,
        reduction: str = "mean",
        microbatch: int | None = None,
        precision: str = "float32",
        folded: bool = True,
        vectorised: bool | None = None,
    ) -> None:
        if precision not in PRECISIONS:
            raise InputError(f"unknown precision {precision!r}; there are {', '.join(PRECISIONS)}")
        objective = brought(model, loss_fn, batches, reduction=reduction, mode="eval")
        model = objective.model
        directions = [fitted(d, model, f"direction {k}") for k, d in enumerate(directions, 1)]
        names = [n for n, _ in model.named_parameters()]
        self.reduction = objective.reduction
        self._problem = Problem(objective, names, None)
        self._centre = dict(zip(names, self._problem.params, strict=True))
        self._buffers = {n: b.detach() for n, b in model.named_buffers()}
        self._directions = [self._alike(d) for d in directions]
        self.total = sum(b.samples for b in self._problem.batches)
        self.samples = self.total if samples is None else samples
        if not 1 <= self.samples <= self.total:
            raise InputError(f"samples must be between 1 and the {self.total} given, got {self.samples}")
        self.precision = "bfloat16" if precision == "bfloat16" else "float32"
        self._pieces, self._weights = self._cut(microbatch, seed)
        self._check_centre()
        self._folded = self._fold() if folded else None
        if vectorised is None:
            vectorised = not self._problem.convolutional and self._points_at_once() >= FEWEST_POINTS
        self._vectorised = vectorised and self._can_vectorise()

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
            ways.append(f"{self._points_at_once()} points a call")
        if self._folded is not None:
            ways.append("batch normalisation folded")
        if any(isinstance(m, nn.Conv2d) for m in self._problem.model.modules()):
            ways.append("channels-last")
        return ", ".join(ways)

    def __call__(
        self, points: Points, on_point: Callable[[int, float, float], None] = lambda i, loss, error: None
    ) -> tuple[Values, Values]:
        """Losses at ``points`` and their standard errors.

        Args:
            points: coordinates, one row a point.
            on_point: called with (row, loss, standard error) as each point is done.

        Returns:
            The losses (NaN or infinite where the model overflows), and the standard errors of taking a subset: 0
            where all samples are used, NaN where one sample gives none.
        """
        losses, errors = np.empty(len(points)), np.empty(len(points))
        width = self._points_at_once() if self._vectorised else 1
        for start in range(0, len(points), width):
            rows = range(start, min(start + width, len(points)))
            # Calls of one size: a point's loss is then the same to the bit whichever points it is computed beside.
            beside = points[[*rows, *[start] * (width - len(rows))]]
            with torch.no_grad():
                values = self._stacked(beside)[: len(rows)] if self._vectorised else self._one(points[start])[None]
            for row, pieces in zip(rows, values, strict=True):
                losses[row], errors[row] = self._summary(pieces)
                on_point(row, losses[row], errors[row])
        return losses, errors

    def choose_precision(self, points: Points, tolerance: float) -> None:
        """Go on in bfloat16 if that is at least 1.2 times as fast on ``points`` and right there.

        Args:
            points: a few that are representative.
            tolerance: largest root-mean-square error of the losses' logarithm, as a share of its range.
        """
        tries = {}
        for precision in ("float32", "bfloat16"):
            self.precision = precision
            self(points[:1])  # warm
            start = time.perf_counter()
            tries[precision] = self(points)[0], time.perf_counter() - start
        (exact, slow), (rough, fast) = tries["float32"], tries["bfloat16"]
        self.precision = "float32"
        if np.isfinite(exact).all() and np.isfinite(rough).all() and (exact > 0).all() and (rough > 0).all():
            error = math.sqrt(np.mean((np.log(rough) - np.log(exact)) ** 2))
            if error <= tolerance * np.ptp(np.log(exact)) and slow > 1.2 * fast:
                self.precision = "bfloat16"

    # --- one point, or several ------------------------------------------------------------------------------

    def _one(self, point: Sequence[float]) -> np.ndarray:
        state = {**self._buffers, **self._centre}
        for c, direction in zip(point, self._directions, strict=True):
            if c:
                for name, d in direction.items():
                    state[name] = torch.add(state[name], d, alpha=float(c))
        return self._evaluate(state)

    def _evaluate(self, state: dict[str, Tensor]) -> np.ndarray:
        problem = self._problem
        if self._folded is not None:
            problem, state = self._folded_problem, self._folded.state(state)
        params = [state[n] for n in problem.names]
        buffers = {n: t for n, t in state.items() if n not in problem.names}
        return torch.stack([self._piece_loss(problem, params, b, buffers) for b in self._pieces]).double().cpu().numpy()

    def _stacked(self, points: Points) -> np.ndarray:
        """Losses ``[point, piece]``."""
        c = torch.as_tensor(points, dtype=self._problem.dtype, device=self._problem.device)
        moving = {n for d in self._directions for n in d}
        state = {**self._buffers, **self._centre}
        fixed = {n: t for n, t in state.items() if n not in moving}
        moved = {}
        for name in moving:
            moved[name] = state[name].expand(len(points), *state[name].shape)
            for k, direction in enumerate(self._directions):
                if name in direction:
                    moved[name] = moved[name] + c[:, k].view(-1, *[1] * state[name].dim()) * direction[name]

        def at(moved: dict[str, Tensor]) -> Tensor:
            everything = {**fixed, **moved}
            params = [everything[n] for n in self._problem.names]
            buffers = {n: everything[n] for n in self._buffers}
            return torch.stack([self._piece_loss(self._problem, params, b, buffers) for b in self._pieces])

        return torch.vmap(at)(moved).double().cpu().numpy()

    def _piece_loss(
        self, problem: Problem, params: Sequence[Tensor], batch: Batch, buffers: dict[str, Tensor]
    ) -> Tensor:
        try:
            if self.precision == "float32":
                return problem.loss(params, batch, buffers)
            with torch.autocast(problem.device.type, torch.bfloat16):
                if problem.objective.form != "output":
                    return problem.loss(params, batch, buffers).to(problem.dtype)
                output = problem.output(params, batch, buffers)
        except RuntimeError as error:
            if is_out_of_memory(error):
                raise out_of_memory(batch) from error
            raise
        output = tree_map_only(Tensor, lambda t: t.to(problem.dtype) if t.is_floating_point() else t, output)
        return problem.loss_fn(output, batch.target)

    def _summary(self, pieces: np.ndarray) -> tuple[float, float]:
        counts = [b.samples if self.reduction == "sum" else w * self.samples
                  for b, w in zip(self._pieces, self._weights, strict=True)]  # fmt: skip
        return estimate(pieces, counts, self.total, self.reduction)

    # --- preparation ----------------------------------------------------------------------------------------

    def _alike(self, direction: Direction) -> Direction:
        """On the model's device, of its type and memory order."""
        state = {**self._buffers, **self._centre}
        return {n: torch.empty_like(state[n]).copy_(d) for n, d in direction.items() if state[n].is_floating_point()}

    def _check_centre(self) -> None:
        batch = self._pieces[0]
        with torch.no_grad():
            loss = self._piece_loss(self._problem, list(self._centre.values()), batch, self._buffers)
        if not torch.isfinite(loss):
            raise InputError(f"the loss at the centre is {loss.item()}: look at the model's weights and the inputs")

    def _cut(self, microbatch: int | None, seed: int) -> tuple[list[Batch], list[float]]:
        """What is used of the batches, in pieces where that leaves the loss what it is; and what each weighs."""
        if microbatch is not None and microbatch < 1:
            raise InputError(f"microbatch must be at least 1, got {microbatch}")
        problem = self._problem
        objective = problem.objective.on(problem.batches, problem.weights)
        size = microbatch
        if size is None:
            cached = problem.convolutional and problem.device.type == "cpu"
            size = CACHED_IMAGES * torch.get_num_threads() if cached else 1024
        if self.samples < self.total:
            used = subset(problem.batches, self.samples, seed)
            weights = [1.0 if self.reduction == "sum" else objective.rule(b) if objective.rule else None for b in used]
            if None in weights:
                raise InputError("a subset of the samples needs a loss that is a mean over samples; leave samples out")
            objective = objective.on(used, [w for w in weights if w is not None])
            size = min(size, max(1, self.samples // PIECES)) if microbatch is None else size
        found = objective.cut(size)
        if found is None and microbatch is not None:
            raise InputError("microbatch changes the loss: it is not a mean over independent samples; leave it out")
        return found or (objective.batches, objective.weights)

    def _fold(self) -> Folded | None:
        """The folded network, if it gives the same losses at the centre and off it."""
        given = self._problem.objective
        found = fold(self._problem.model) if given.form == "output" and not given.follows else None
        if found is None:
            return None
        off = [0.5] * len(self._directions)
        self._folded = None
        plain = [self._first_pieces(point) for point in ([0.0] * len(off), off)]
        self._folded = found
        names = [n for n, _ in found.module.named_parameters()]
        objective = Objective(
            found.module, given.loss_fn, [self._pair()], form="output", reduction=self.reduction, seed=given.seed
        )
        self._folded_problem = Problem(objective, names, None)
        again = [self._first_pieces(point) for point in ([0.0] * len(off), off)]
        return found if np.allclose(plain, again, rtol=1e-3, atol=1e-6, equal_nan=True) else None

    def _pair(self) -> tuple[Any, Any]:
        return self._pieces[0].inputs, self._pieces[0].target

    def _first_pieces(self, point: Sequence[float]) -> np.ndarray:
        pieces, self._pieces = self._pieces, self._pieces[:1]
        try:
            with torch.no_grad():
                return self._one(point)
        finally:
            self._pieces = pieces

    def _can_vectorise(self) -> bool:
        """Whether a vectorised call works and gives what one point after another gives."""
        points = np.array([[0.0] * len(self._directions), [0.5] * len(self._directions)])
        pieces, self._pieces = self._pieces, self._pieces[:1]
        try:
            with torch.no_grad():
                together = self._stacked(points)
                alone = np.stack([self._one(p) for p in points])
        except Exception:  # a model or loss that vmap cannot see through; one after another is equally right
            return False
        finally:
            self._pieces = pieces
        return np.allclose(together, alone, rtol=1e-3, atol=1e-6, equal_nan=True)

    def _points_at_once(self) -> int:
        weights = sum(t.numel() for t in self._centre.values())
        widest = max(b.samples for b in self._pieces) * max(
            (m.out_features for m in self._problem.model.modules() if isinstance(m, nn.Linear)), default=1
        )
        size = torch.empty(0, dtype=self._problem.dtype).element_size()
        room = POINTS_BYTES.get(self._problem.device.type, POINTS_BYTES["cpu"])
        return min(MOST_POINTS, max(1, room // (size * max(weights, widest))))
