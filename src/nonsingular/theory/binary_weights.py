"""Binary weights: the whole landscape of a small network, state by state (Orhan & Pitkow 2017, abstract).

The abstract names "a toy model with binary weights"; the model itself is not in it, so this one is ours:

    h_1 = f(W_1 x + b_1),   h_l = f(W_l h_(l-1) + b_l) + S h_(l-1),   y = f(W_L h_(L-1)) + S h_(L-1),   f = ReLU,

with W_1 in {-1, +1}^(n x d) and the others in {-1, +1}^(n x n), trained on Gaussian inputs x to reproduce a teacher of
the same kind. The top layer's units are labelled, so permuting the units of the L - 1 hidden layers, (n!)^(L-1) ways,
is the plain network's whole symmetry. S is 0 (``plain``), the identity (``residual``), a random matrix
(``random-skip``) or all ones (``all-ones``), which commutes with every permutation. All S have Frobenius norm sqrt n
(times a ``strength``, 1 unless told), so that only their structure differs. ``biased`` has no skip but distinct fixed
biases b, evenly spaced in [-1, 1] in random order: a way to break the symmetry without a skip.

The loss is a sum over top units of terms that see the lower layers and one row of W_L, so a table of those terms gives
all losses by broadcasting. A state's bits, most significant first, are W_1 by rows, then W_2 by rows, and so on.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import xarray as xr
from jaxtyping import Float, Int

from nonsingular import checks
from nonsingular.checks import checked
from nonsingular.errors import InputError

Array = np.ndarray
NETWORKS = ("plain", "all-ones", "residual", "random-skip", "biased")
MAX_BITS = 26  # 2^26 losses take half a GiB
BLOCK = 4096  # lower-layer states evaluated at once
TIE = 1e-9  # losses closer than this, relative to the mean loss, are equal: rounding is near 1e-15


@checked
@dataclass(frozen=True)
class Shape:
    """Sizes of the toy.

    Attributes:
        inputs: d.
        hidden: n, also the number of outputs.
        layers: L, the number of weight matrices.
        samples: training inputs.

    >>> from nonsingular.theory import binary_weights as bw
    >>> bw.Shape(inputs=3, hidden=2, layers=2, samples=16).hidden
    2
    """

    inputs: int
    hidden: int
    layers: int = 2
    samples: int = 32

    def __post_init__(self) -> None:
        checks.at_least(1, inputs=self.inputs, hidden=self.hidden, samples=self.samples)
        checks.at_least(2, layers=self.layers)
        if self.bits > MAX_BITS:
            raise InputError(
                f"inputs, hidden and layers give 2^{self.bits} states; at most 2^{MAX_BITS} are enumerated"
            )

    @property
    def matrices(self) -> list[tuple[int, int]]:
        """Shape of each weight matrix, W_1 first."""
        return [(self.hidden, self.inputs)] + [(self.hidden, self.hidden)] * (self.layers - 1)

    @property
    def bits(self) -> int:
        """Number of binary weights."""
        return sum(rows * columns for rows, columns in self.matrices)

    @property
    def symmetries(self) -> int:
        """Number of permutations of hidden units, (n!)^(L-1)."""
        return math.factorial(self.hidden) ** (self.layers - 1)


@dataclass(frozen=True)
class Problem:
    """A teacher and its data.

    Attributes:
        shape: sizes.
        x: inputs, ``[sample, input]``.
        skip: S, ``[hidden, hidden]``.
        bias: b_l of the hidden layers, ``[layer, hidden]``.
        state: the teacher's weights as the number of its state.

    >>> from nonsingular.theory import binary_weights as bw
    >>> problem = bw.problem("plain", bw.Shape(3, 2), seed=0)
    >>> problem.x.shape, problem.skip.tolist()
    ((32, 3), [[0.0, 0.0], [0.0, 0.0]])
    """

    shape: Shape
    x: Float[Array, "sample input"]
    skip: Float[Array, "hidden hidden"]
    bias: Float[Array, "layer hidden"]
    state: int

    def hidden(self, layer: int, below: Array, W: Array) -> Float[Array, "... sample hidden"]:
        """h_layer from the layer below, ``[..., sample, unit]``, with weights ``[..., hidden, unit]``."""
        h = np.maximum(below @ np.swapaxes(W, -1, -2) + self.bias[layer - 1], 0)
        return h if layer == 1 else h + below @ self.skip.T


@checked
def problem(network: str, shape: Shape, seed: int, strength: float = 1.0) -> Problem:
    """The teacher, inputs and skip drawn from ``seed``; teacher and inputs are the same for every network.

    The teacher is drawn until each of its units answers some input in the plain network: a dead unit's weights would
    be free, a degeneracy of another kind.

    Args:
        network: ``plain``, ``all-ones``, ``residual``, ``random-skip`` or ``biased``.
        shape: sizes.
        seed: of everything random.
        strength: multiplies the skip matrix.

    >>> from nonsingular.theory import binary_weights as bw
    >>> plain, residual = (bw.problem(name, bw.Shape(3, 2), seed=0) for name in ("plain", "residual"))
    >>> plain.state == residual.state, residual.skip.round(2).tolist()  # one teacher, another skip
    (True, [[1.0, 0.0], [0.0, 1.0]])
    """
    checks.at_least(0, seed=seed)
    checks.one_of(NETWORKS, network=network)
    checks.positive(strength=strength)
    rng = np.random.default_rng(seed)
    n = shape.hidden
    x = rng.standard_normal((shape.samples, shape.inputs))
    state = _live_state(shape, x, rng)
    gaussian = rng.standard_normal((n, n))
    bias = np.stack([rng.permutation(np.linspace(-1, 1, n)) for _ in range(shape.layers - 1)])
    skip = {
        "residual": np.eye(n),
        "random-skip": gaussian * math.sqrt(n) / np.linalg.norm(gaussian),
        "all-ones": np.ones((n, n)) / math.sqrt(n),
    }.get(network, np.zeros((n, n)))
    return Problem(shape, x, strength * skip, bias if network == "biased" else np.zeros_like(bias), state)


def _live_state(shape: Shape, x: Array, rng: np.random.Generator) -> int:
    n = shape.hidden
    plain = Problem(shape, x, np.zeros((n, n)), np.zeros((shape.layers - 1, n)), 0)
    for _ in range(1000):
        state = int(rng.integers(2**shape.bits))
        h = x
        alive = True
        for layer, W in enumerate(weights(shape, state), start=1):
            h = np.maximum(h @ W.T, 0) if layer == shape.layers else plain.hidden(layer, h, W)
            alive = alive and bool((h > 0).any(axis=0).all())
        if alive:
            return state
    raise InputError("no teacher with all units alive was found; give more samples or more inputs")


def _signs(numbers: Array, rows: int, columns: int) -> Float[Array, "... row column"]:
    """The bits of numbers, most significant first, as -1 and +1."""
    shifts = np.arange(rows * columns - 1, -1, -1).reshape(rows, columns)
    return 1.0 - 2.0 * (numbers[..., None, None] >> shifts & 1)


@checked
def weights(shape: Shape, state: Int[Array, "..."] | int) -> list[Float[Array, "... row column"]]:
    """The weight matrices of a state, or of many, W_1 first.

    >>> from nonsingular.theory import binary_weights as bw
    >>> [W.tolist() for W in bw.weights(bw.Shape(2, 2), 0)]
    [[[1.0, 1.0], [1.0, 1.0]], [[1.0, 1.0], [1.0, 1.0]]]
    """
    number, left = np.asarray(state), shape.bits
    matrices = []
    for rows, columns in shape.matrices:
        left -= rows * columns
        matrices.append(_signs(number >> left, rows, columns))
    return matrices


@checked
def outputs(problem: Problem, state: Int[Array, "..."] | int) -> Float[Array, "... sample hidden"]:
    """The network's y for every training input.

    >>> from nonsingular.theory import binary_weights as bw
    >>> problem = bw.problem("plain", bw.Shape(3, 2, samples=16), seed=0)
    >>> bw.outputs(problem, problem.state).shape
    (16, 2)
    """
    *lower, top = weights(problem.shape, state)
    h = problem.x
    for layer, W in enumerate(lower, start=1):
        h = problem.hidden(layer, h, W)
    return np.maximum(h @ np.swapaxes(top, -1, -2), 0) + h @ problem.skip.T


@checked
def losses(problem: Problem) -> Float[Array, " state"]:
    """Mean squared error (mean over samples, sum over outputs, halved) of every state, ``[2^bits]``.

    >>> from nonsingular.theory import binary_weights as bw
    >>> problem = bw.problem("plain", bw.Shape(3, 2), seed=0)
    >>> losses = bw.losses(problem)
    >>> len(losses), round(float(losses[problem.state]), 9)  # every assignment; the teacher's own is 0
    (1024, 0.0)
    """
    shape = problem.shape
    n = shape.hidden
    target = outputs(problem, problem.state)
    rows = _signs(np.arange(2**n), 1, n)[:, 0]
    loss = np.empty((2 ** (shape.bits - n * n), 2 ** (n * n)))
    for start in range(0, len(loss), BLOCK):
        # the state's low bits are the top layer's; any will do where only the lower layers are looked at
        numbers = np.arange(start, min(start + BLOCK, len(loss))) << (n * n)
        h = problem.x
        for layer, W in enumerate(weights(shape, numbers)[:-1], start=1):
            h = problem.hidden(layer, h, W)
        active = np.maximum(np.swapaxes(h @ rows.T, -1, -2), 0)
        total = np.zeros((len(numbers), 1))
        for unit in range(n):
            wanted = target[:, unit] - h @ problem.skip[unit]
            part = ((active - wanted[:, None]) ** 2).mean(axis=-1) / 2
            total = (total[:, :, None] + part[:, None]).reshape(len(numbers), -1)
        loss[start : start + BLOCK] = total
    return loss.ravel()


@dataclass(frozen=True)
class Landscape:
    """All losses of a problem, and their graph under single flips.

    Attributes:
        loss: ``[state]``.
        best: loss of the best single flip from each state, ``[state]``.
        descent: the state reached by that flip where it lowers the loss, else the state itself, ``[state]``.

    >>> from nonsingular.theory import binary_weights as bw
    >>> scene = bw.landscape(bw.problem("plain", bw.Shape(3, 2), seed=0))
    >>> scene.loss.shape == scene.descent.shape
    True
    """

    loss: Float[Array, " state"]
    best: Float[Array, " state"]
    descent: Int[Array, " state"]
    tolerance: float

    @property
    def optimal(self) -> Array:
        """Where the loss is that of the teacher, 0."""
        return self.loss <= self.tolerance

    @property
    def strict_minima(self) -> Array:
        """Where every flip raises the loss."""
        return self.best > self.loss + self.tolerance

    @property
    def minima(self) -> Array:
        """Where no flip lowers the loss (strict minima and plateaus' states)."""
        return self.best >= self.loss - self.tolerance


@checked
def landscape(problem: Problem) -> Landscape:
    """Enumerate a problem's states and single flips.

    >>> from nonsingular.theory import binary_weights as bw
    >>> scene = bw.landscape(bw.problem("plain", bw.Shape(3, 2), seed=0))
    >>> round(float(scene.loss.min()), 9)
    0.0
    """
    loss = losses(problem)
    bits = problem.shape.bits
    tolerance = TIE * float(loss.mean())
    best = np.full(loss.size, np.inf)
    flip = np.zeros(loss.size, np.int8)
    for bit in range(bits):
        pairs = (-1, 2, 1 << bit)
        flipped = loss.reshape(pairs)[:, ::-1]
        better = flipped < best.reshape(pairs) - tolerance  # a tie goes to the lower bit
        np.copyto(best.reshape(pairs), flipped, where=better)
        np.copyto(flip.reshape(pairs), np.int8(bit), where=better)
    descent = np.arange(loss.size, dtype=np.int32)
    downhill = np.flatnonzero(best < loss - tolerance)
    descent[downhill] ^= np.left_shift(np.int32(1), flip[downhill], dtype=np.int32)
    return Landscape(loss, best, descent, tolerance)


@checked
def greedy_success(landscape: Landscape) -> float:
    """Share of all starts from which steepest descent by single flips ends at zero loss (every start is followed).

    >>> from nonsingular.theory import binary_weights as bw
    >>> 0 < bw.greedy_success(bw.landscape(bw.problem("plain", bw.Shape(3, 2), seed=0))) <= 1
    True
    """
    end = landscape.descent
    while True:
        further = end[end]
        if np.array_equal(further, end):
            return float(landscape.optimal[end].mean())
        end = further


@checked
def annealing_success(landscape: Landscape, *, sweeps: int, chains: int, seed: int) -> float:
    """Share of simulated annealing chains that have visited zero loss.

    Metropolis flips of random single weights; the temperature falls geometrically from the standard deviation of the
    loss over all states to a hundredth of it.

    Args:
        landscape: of a problem.
        sweeps: flips tried for each weight.
        chains: independent chains from random states.
        seed: of the chains.

    >>> from nonsingular.theory import binary_weights as bw
    >>> scene = bw.landscape(bw.problem("plain", bw.Shape(3, 2), seed=0))
    >>> 0 < bw.annealing_success(scene, sweeps=5, chains=16, seed=0) <= 1
    True
    """
    checks.at_least(0, seed=seed)
    checks.at_least(1, sweeps=sweeps, chains=chains)
    rng = np.random.default_rng(seed)
    loss = landscape.loss
    bits = loss.size.bit_length() - 1
    state = rng.integers(loss.size, size=chains)
    energy = loss[state]
    solved = energy <= landscape.tolerance
    for temperature in loss.std() * np.geomspace(1, 0.01, sweeps * bits):
        proposal = state ^ (1 << rng.integers(bits, size=chains))
        proposed = loss[proposal]
        accept = proposed - energy <= temperature * rng.standard_exponential(chains)
        state, energy = np.where(accept, proposal, state), np.where(accept, proposed, energy)
        solved |= energy <= landscape.tolerance
    return float(solved.mean())


@checked
def tie_sizes(landscape: Landscape) -> Int[Array, " level"]:
    """Number of states at each distinct loss.

    >>> from nonsingular.theory import binary_weights as bw
    >>> plain, residual = (bw.landscape(bw.problem(name, bw.Shape(3, 2), seed=0)) for name in ("plain", "residual"))
    >>> bool(bw.tie_sizes(plain).mean() > bw.tie_sizes(residual).mean())  # a skip makes ties rare
    True
    """
    ordered = np.sort(landscape.loss)
    edges = np.flatnonzero(np.diff(ordered) > landscape.tolerance)
    return np.diff(np.concatenate([[0], edges + 1, [ordered.size]]))


@checked
def permutation_gap(problem: Problem, *, samples: int = 2000, seed: int = 0) -> float:
    """Mean change of the loss when two units of the first hidden layer change places, relative to the mean loss.

    Args:
        problem: whose symmetry is asked for.
        samples: random states tried.
        seed: of the states.

    >>> from nonsingular.theory import binary_weights as bw
    >>> problem = bw.problem("plain", bw.Shape(3, 2), seed=0)
    >>> bw.permutation_gap(problem, samples=50) < 1e-12  # without a skip units may change places
    True
    """
    checks.at_least(1, samples=samples)
    checks.at_least(0, seed=seed)
    shape = problem.shape
    n, d = shape.hidden, shape.inputs
    if n < 2:
        raise InputError("hidden must be at least 2 for units to change places")
    states = np.random.default_rng(seed).integers(2**shape.bits, size=samples)
    bits = states[:, None] >> np.arange(shape.bits - 1, -1, -1) & 1
    order = np.arange(shape.bits)
    order[: 2 * d] = np.roll(order[: 2 * d], d)  # rows 0 and 1 of W_1
    second = order[n * d : n * d + n * n].reshape(n, n)
    second[:, [0, 1]] = second[:, [1, 0]]  # columns 0 and 1 of W_2
    swapped = bits[:, order] @ (1 << np.arange(shape.bits - 1, -1, -1))
    target = outputs(problem, problem.state)
    before, after = (((outputs(problem, k) - target) ** 2).sum(-1).mean(-1) for k in (states, swapped))
    return float(np.abs(after - before).mean() / before.mean())


@checked
def survey(
    network: str, shape: Shape, seed: int, *, strength: float = 1.0, sweeps: int = 20, chains: int = 256
) -> xr.Dataset:
    """Everything measured of one network and teacher.

    Args:
        network: as for ``problem``.
        shape: sizes.
        seed: teacher, inputs and skip.
        strength: of the skip, 1 for Frobenius norm sqrt n.
        sweeps: of annealing.
        chains: of annealing.

    Returns:
        Scalars: ``optima`` (states of zero loss), ``tied`` (mean, over states, of the number of states with exactly the
        same loss), ``distinct`` (distinct losses / states), ``strict_minima`` and ``minima`` (counts under single
        flips), ``greedy`` and ``annealing`` (success rates), ``permutation_gap``.

    >>> from nonsingular.theory import binary_weights as bw
    >>> found = bw.survey("residual", bw.Shape(3, 2), seed=0, sweeps=2, chains=8)
    >>> float(found.permutation_gap) > 0.01
    True
    """
    checks.at_least(0, seed=seed)
    task = problem(network, shape, seed, strength)
    scape = landscape(task)
    sizes = tie_sizes(scape)
    states = scape.loss.size
    return xr.Dataset(
        {
            "optima": int(scape.optimal.sum()),
            "tied": float((sizes.astype(float) ** 2).sum() / states),
            "distinct": sizes.size / states,
            "strict_minima": int(scape.strict_minima.sum()),
            "minima": int(scape.minima.sum()),
            "greedy": greedy_success(scape),
            "annealing": annealing_success(scape, sweeps=sweeps, chains=chains, seed=seed),
            "permutation_gap": permutation_gap(task),
        },
        coords={"network": network, "teacher": seed},
    )
