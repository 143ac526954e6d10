"""What a look measured: of each layer, of each parameter, of the whole; and the numbers that rules judge."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any

from nonsingular.diagnosis.outputs import OutputStatistics

if TYPE_CHECKING:
    import pandas as pd

    from nonsingular.objective import Batch


TRAINS = "loop-trains"
"""The number that says whether a loop was seen to learn: 1 or 0."""


@dataclass(frozen=True)
class Statistic:
    """One number that a rule judges.

    Attributes:
        value: larger is worse; NaN where there is nothing to measure it by. A fact is 1, its absence 0.
        layers: where it is worst.
        words: what the number is, for the user.
        where: a parameter, an operation or ``file:line``, where that says more than the layers; "" otherwise.
        evidence: further numbers: each with ``measure`` (words), ``value`` and perhaps ``layer`` and ``healthy``.
        remedy: what to change, where it depends on what was seen; "" otherwise.
        of: the operation that the remedy is about, as ``Op.told`` has it; "" where it is about none.
        takes_out: whether the remedy takes that operation out, or puts another in its place.
    """

    value: float
    layers: tuple[str, ...]
    words: str
    where: str = ""
    evidence: tuple[Mapping[str, Any], ...] = ()
    remedy: str = ""
    of: str = ""
    takes_out: bool = False


@dataclass(frozen=True)
class Layer:
    """One row of the table: what was measured of a layer. NaN where a measure has no value there.

    Attributes:
        name: as in ``model.named_modules()``.
        kind: class of the module.
        units: of its output.
        activation: that follows; "" where none was seen.
        normalised: whether a normalisation follows it directly.
        bypassed: whether a connection leads around it; None where nothing flows back through it.
        signal: root mean square of what it passes on.
        output: root mean square of its output, before normalisation and activation.
        spread: root mean square over units of the standard deviation over samples, of what it passes on.
        gradient: mean over samples of the norm of the gradient of a sample's loss by its output.
        dead: share of units whose largest response to any sample is zero (to 1e-6 of the layer's largest).
        zero_response: share of responses that are zero after a rectifier.
        saturated: share of responses of tanh or sigmoid within 1 % of a bound.
        eliminated: share of units without incoming weights that get no gradient either, or whose response nobody uses.
        twins: share of units with the same incoming weights and bias as another.
        distinct: units of different incoming weights, whatever their bias, as a share of all with incoming weights.
        mean_overlap: mean correlation of two units' incoming weights.
        missing_rank: missing directions of the incoming weights, as a share of those that their shape allows.
        linear_dependence: share of the responses' variance in three directions.
        effective_rank: of the responses' covariance, in directions.
        directions: number of singular values of the centred responses above 1e-3 of the largest.
        condition_number: of the sampled responses.
        weight_norm: mean norm of a unit's incoming weights.
        update: norm of the weights' gradient over the weights' norm.
        finite: whether all responses were.

    >>> import torch
    >>> import nonsingular as ns
    >>> model, batch = torch.nn.Linear(6, 3), (torch.randn(60, 6), torch.arange(60) % 3)
    >>> (layer,) = ns.diagnosis.look(model, torch.nn.functional.cross_entropy, [batch]).layers
    >>> layer.kind, layer.units
    ('Linear', 3)
    """

    name: str
    kind: str
    units: int
    activation: str = ""
    normalised: bool = False
    bypassed: bool | None = None
    signal: float = math.nan
    output: float = math.nan
    spread: float = math.nan
    gradient: float = math.nan
    dead: float = math.nan
    zero_response: float = math.nan
    saturated: float = math.nan
    eliminated: float = math.nan
    twins: float = math.nan
    distinct: float = math.nan
    mean_overlap: float = math.nan
    missing_rank: float = math.nan
    linear_dependence: float = math.nan
    effective_rank: float = math.nan
    directions: float = math.nan
    condition_number: float = math.nan
    weight_norm: float = math.nan
    update: float = math.nan
    finite: bool = True

    def to_json(self) -> dict[str, object]:
        """Plain values; NaN and infinities, which JSON lacks, as null."""
        return {k: None if isinstance(v, float) and not math.isfinite(v) else v for k, v in asdict(self).items()}


@dataclass(frozen=True)
class Parameter:
    """What one look says of a parameter.

    Attributes:
        name: the first, where it has several.
        size: entries.
        frozen: does not require a gradient.
        trained: frozen, with weights that are not spread as initialisations draw them.
        apart: of a part that other methods of the model call than ``forward``, as a generator beside its judge.
        unused: the loss does not depend on it.
        zero_gradient: the loss depends on it, and its gradient is zero in every entry.
        zero: all its entries are.
        tied: other names of the same tensor.
    """

    name: str
    size: int
    frozen: bool
    unused: bool
    zero_gradient: bool
    zero: bool
    tied: tuple[str, ...] = ()
    trained: bool = False
    apart: bool = False


@dataclass(frozen=True)
class Look:
    """Everything measured of a network.

    Attributes:
        layers: in the order in which they were called.
        norms: of the normalisation modules: name -> (spread before, spread after, layers called before it).
        parameters: all of them.
        outputs: the network's outputs against its targets.
        input_norm: root mean square of the inputs, NaN for tokens.
        input_rank: effective rank of the inputs, NaN for tokens.
        samples, seconds, piece: what was looked at, how long it took, samples that passed at a time.
        kept_bytes: of one piece by autograd.
        complete: whether all samples asked for were seen within the time.
        profiles: layer -> singular values of its responses over the largest, at most 24 of them.
        spectrum: counts of the Hessian's eigenvalues, where asked for.
        not_finite: the first batch with a loss or gradient that was not.
        scaling: of the inputs, where they come of a named data set; else "".
        looked_up: parameters of which each sample reads few rows, as of an embedding.

    >>> import torch
    >>> import nonsingular as ns
    >>> model, batch = torch.nn.Linear(6, 3), (torch.randn(60, 6), torch.arange(60) % 3)
    >>> seen = ns.diagnosis.look(model, torch.nn.functional.cross_entropy, [batch])
    >>> seen.samples, seen.outputs.task
    (60, 'classifier')
    """

    layers: list[Layer]
    norms: dict[str, tuple[float, float, int]]
    parameters: list[Parameter]
    outputs: OutputStatistics
    input_norm: float
    input_rank: float
    samples: int
    seconds: float
    piece: int
    kept_bytes: int
    complete: bool
    profiles: dict[str, list[float]] = field(default_factory=dict)
    spectrum: Any = None
    notes: tuple[str, ...] = field(default=())
    not_finite: Batch | None = None
    scaling: str = ""
    looked_up: tuple[str, ...] = ()

    def frame(self) -> pd.DataFrame:
        """The layers as a pandas frame, one row each, named by layer."""
        import pandas as pd

        return pd.DataFrame([asdict(layer) for layer in self.layers]).set_index("name")
