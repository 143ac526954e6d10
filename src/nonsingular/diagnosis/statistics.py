"""What a look comes down to: a few numbers a network, each with the layers it was read from; larger is worse."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable
from dataclasses import replace

from nonsingular.diagnosis.records import Layer, Look, Parameter, Statistic
from nonsingular.intervals import wilson

PRECISION = 1e-6
"""Part of the signal below which a spread is float32's rounding."""


def statistics(look: Look) -> dict[str, Statistic]:
    """Every statistic of a look, by name."""
    return {
        "signal-decades": _of_start(look, _decades(look, lambda layer: layer.spread)),
        "gradient-decades": _decades(look, lambda layer: layer.gradient),
        "overflow": _overflow(look),
        "blind": _blind(look),
        "dead": _worst(look, _surely_dead, "share of units that respond to no sample, at least"),
        "saturated": _worst(look, lambda layer: layer.saturated, "share of responses at the activation's bound"),
        "eliminated": _worst(
            look, lambda layer: layer.eliminated, "share of units without incoming weights or gradient"
        ),
        "twins": _worst(look, lambda layer: layer.twins, "share of units with the same incoming weights as another"),
        "copies": _worst(
            look, lambda layer: 1 / layer.distinct if layer.distinct else math.nan, "copies of each different unit"
        ),
        "missing-rank": _worst(look, lambda layer: layer.missing_rank, "missing directions of the incoming weights"),
        "collapse": _collapse(look),
        "output": _of_start(look, _output(look, "classifier", "decades by which the loss is above that of equal odds")),
        "output-scale": _of_start(
            look, _output(look, "regressor", "decades by which the outputs' spread is above the targets'")
        ),
        "left-alone": _left_alone(look),
        "set-aside": _set_aside(look),
        "unused": _unused(look),
        "unreached": _unreached(look),
        "untrained": _untrained(look),
        "flat": _flat(look),
    }


def learning_zeros(look: Look) -> set[str]:
    """Layers whose incoming weights are zero but get a gradient: a first step makes them alive (Fixup starts so)."""
    return {layer.name for layer in look.layers if layer.weight_norm == 0 and not layer.eliminated > 0}


def _decades(look: Look, measure: Callable[[Layer], float]) -> Statistic:
    """Decades by which the last quarter of the layers differs from the first; positive is growth towards the loss.

    The largest value of each quarter stands for it, because parallel branches (an attention's queries, a gate) may
    carry little without anything being wrong. Where all of the first quarter lie beside a connection, and so does what
    follows (the queries and keys of a short transformer), the first half stands for it: what lies on the way is none of
    them. Zeros behind layers that are zero but learn say nothing, and none beside the way (a gate that is always open).
    """
    zeros = learning_zeros(look)
    known = [layer for layer in look.layers if layer.name not in zeros and measure(layer) >= 0]
    known = [layer for layer in known if measure(layer) > 0 or not layer.bypassed]
    if zeros:
        known = [layer for layer in known if measure(layer) > 0]
    if len(known) < 2:
        return Statistic(math.nan, (), "")
    quarter = max(1, len(known) // 4)
    first, last = (max(map(measure, part)) for part in (known[:quarter], known[-quarter:]))
    beside = list(itertools.takewhile(lambda layer: layer.bypassed, known[: max(1, len(known) // 2)]))
    if first < last and len(beside) > quarter:
        first = min(last, max(map(measure, beside)))
    value = max(-LIMIT, min(LIMIT, _log(last) - _log(first)))
    return Statistic(
        value, tuple(layer.name for layer in known), "decades from the first quarter of the layers to the last"
    )


ORDINARY_LOSS = 0.2
HE_NORM, DEFAULT_NORM = 2**0.5, 3**-0.5
"""Of a unit's incoming weights, where layers start as He et al. 2015 and as PyTorch draw them."""
LARGE_START, SMALL_START = 3.0, 1 / 3  # times these, from where a start is no usual one
LIMIT = 40.0  # decades between the smallest and the largest number that float32 has, and a rest


def _log(x: float) -> float:
    if math.isnan(x):
        return math.nan
    return LIMIT if math.isinf(x) else math.log10(max(x, 10**-LIMIT))


def _overflow(look: Look) -> Statistic:
    broken = tuple(layer.name for layer in look.layers if not layer.finite)
    return Statistic(float(bool(broken)), broken, "layers return infinity or NaN")


def _surely_dead(layer: Layer) -> float:
    """Lower end of Wilson's 95 % interval of the share of dead units: two of six by chance say little of a layer."""
    if math.isnan(layer.dead):
        return math.nan
    dead = round(layer.dead * layer.units)
    return wilson(dead, layer.units)[0]


def _blind(look: Look) -> Statistic:
    """By how much the spread over samples is below the signal, in that layer of the last quarter that sees most."""
    zeros = learning_zeros(look)
    known = [layer for layer in look.layers if layer.name not in zeros and layer.signal > 0]
    words = "decades by which what tells samples apart is below the signal"
    if not known:
        return Statistic(math.nan, (), words)
    last = known[-max(1, len(known) // 4) :]
    value = min(_log(layer.signal) - _log(layer.spread) for layer in last)
    return Statistic(value, tuple(layer.name for layer in last), words)


def _worst(look: Look, measure: Callable[[Layer], float], words: str) -> Statistic:
    known = [(measure(layer), layer.name) for layer in look.layers if not math.isnan(measure(layer))]
    if not known:
        return Statistic(math.nan, (), words)
    value = max(v for v, _ in known)
    return Statistic(value, tuple(name for v, name in known if v >= 0.5 * value), words)


def _output(look: Look, task: str, words: str) -> Statistic:
    layers = (look.layers[-1].name,) if look.layers else ()
    return Statistic(_log(look.outputs.excess) if look.outputs.task == task else math.nan, layers, words)


def _of_start(look: Look, statistic: Statistic) -> Statistic:
    """What is too large, or too small, with the weights that make it so, where their start is no usual one."""
    small, large = SMALL_START * DEFAULT_NORM, LARGE_START * HE_NORM
    # A column of an embedding has as many weights as there are tokens, of which a sample meets one.
    told = [layer for layer in look.layers if not (layer.normalised or layer.kind.startswith("Embedding"))]
    if statistic.value > 0:
        odd = sorted((x for x in told if x.weight_norm > large), key=lambda x: -x.weight_norm)
    else:
        odd = sorted((x for x in told if 0 < x.weight_norm < small), key=lambda x: x.weight_norm)
    if not odd:
        return statistic
    measure = (
        f"norm of a unit's incoming weights, of which He's start has {HE_NORM:.3g} and PyTorch's {DEFAULT_NORM:.2g}"
    )
    evidence = tuple({"measure": measure, "layer": layer.name, "value": layer.weight_norm} for layer in odd[:3])
    remedy = (
        f"Draw these weights {'smaller' if statistic.value > 0 else 'larger'}: with deviation (2 / inputs)**0.5 "
        "(nn.init.kaiming_normal_) before a rectifier, (1 / inputs)**0.5 else."
    )
    return replace(
        statistic, layers=tuple(layer.name for layer in odd), where=f"{odd[0].name}.weight", remedy=remedy,
        evidence=(*statistic.evidence, *evidence),
    )  # fmt: skip


FROZEN = "share of the parameters that are frozen"


def _left_alone(look: Look) -> Statistic:
    """Share of the parameters that are frozen, where nothing learns, or the readout is frozen as well."""
    mistaken = not _learns(look) or _readout_frozen(look)
    return _share(look, _as_drawn(look) if mistaken else [], FROZEN)


def _set_aside(look: Look) -> Statistic:
    """The same where the readout learns: what was pretrained for a little while is spread as what was drawn is."""
    return _share(look, [] if _left_alone(look).value else _as_drawn(look), FROZEN)


def _learns(look: Look) -> bool:
    return any(not (p.frozen or p.unused or p.zero_gradient) for p in look.parameters)


def _as_drawn(look: Look) -> list[Parameter]:
    """Frozen parameters that nothing shows to be trained."""
    known = _frozen_by_purpose(look) if _learns(look) else set()
    return [p for p in look.parameters if p.frozen and p.name not in known]


def _readout_frozen(look: Look) -> bool:
    """Whether the last layer is frozen, and that other than with a whole part that judges what learns before it."""
    if not look.layers:
        return False
    first, last = look.layers[0].name, look.layers[-1].name
    part = last.rpartition(".")[0]
    judge = bool(part) and _all_frozen(look, part) and not _all_frozen(look, first)
    return _all_frozen(look, last) and not judge


def _all_frozen(look: Look, module: str) -> bool:
    own = [p for p in look.parameters if any(name.startswith(f"{module}.") for name in (p.name, *p.tied))]
    return bool(own) and all(p.frozen for p in own)


def _unused(look: Look) -> Statistic:
    """Share of the parameters that the loss does not depend on, by its graph, and that have no other purpose."""
    lost = [p for p in look.parameters if p.unused and not p.apart]
    return _share(look, lost, "share of the parameters that the loss does not reach")


def _unreached(look: Look) -> Statistic:
    """Whether there are modules that run and of whose parameters, none of them frozen, the loss depends on none."""
    own: dict[str, list[Parameter]] = {}
    for p in look.parameters:
        own.setdefault(p.name.rpartition(".")[0], []).append(p)
    ran = {layer.name for layer in look.layers}
    deaf = [name for name, ps in own.items() if name in ran and all(p.unused and not p.trained for p in ps)]
    words = "modules that run and that no gradient reaches"
    return Statistic(
        float(_learns(look) and bool(deaf)), tuple(deaf), words, "", ({"measure": words, "value": len(deaf)},)
    )


def _untrained(look: Look) -> Statistic:
    """Share of the parameters with zero gradients; behind zero layers that learn they will pass.

    Biases alone do not count: they cancel where a loss takes differences of outputs.
    """
    waits = bool(learning_zeros(look)) or any(map(_closed_gate, look.parameters))
    moved = {p.name.rpartition(".")[0] for p in look.parameters if not (p.zero_gradient or p.frozen or p.unused)}
    stuck = [
        p for p in look.parameters
        if p.zero_gradient and not (p.frozen or waits or _one_step(p) or _bias_of(p) in moved)
    ]  # fmt: skip
    return _share(look, stuck, "share of the parameters that no gradient moves")


def _share(look: Look, parameters: list[Parameter], words: str) -> Statistic:
    total = sum(p.size for p in look.parameters)
    names = tuple(dict.fromkeys(p.name.rpartition(".")[0] or p.name for p in parameters))
    return Statistic(sum(p.size for p in parameters) / total, names, words)


def _frozen_by_purpose(look: Look) -> set[str]:
    """Frozen parameters of modules that have been trained before, or that stand among such."""
    frozen = [p for p in look.parameters if p.frozen]
    told = [p for p in frozen if p.trained]
    return {p.name for p in frozen} if told and sum(p.size for p in told) > 0.5 * sum(p.size for p in frozen) else set()


def _closed_gate(p: Parameter) -> bool:
    """Whether this is one number by which a branch is multiplied, zero at the start and about to grow (ReZero)."""
    learns = not (p.zero_gradient or p.unused or p.frozen)
    return p.size == 1 and p.zero and learns and p.name.rpartition(".")[2] != "bias"


def _bias_of(p: Parameter) -> str | None:
    """The layer of which this is the bias."""
    layer, _, name = p.name.rpartition(".")
    return layer if name == "bias" else None


def _one_step(p: Parameter) -> bool:
    """Whether these are recurrent weights, whose gradient is zero where one step from a state of zeros is used."""
    return p.name.rpartition(".")[2].startswith("weight_hh")


def _flat(look: Look) -> Statistic:
    words = "share of the Hessian's eigenvalues within 0.1 of zero"
    # The window is one of losses of order one: of a small loss all eigenvalues are small.
    if look.spectrum is None or not look.outputs.loss > ORDINARY_LOSS:
        return Statistic(math.nan, (), words)
    # Rows that few samples read are flat however well they are learnt. Of a part of the matrix no more eigenvalues lie
    # outside the window than of all of it (Cauchy's interlacing).
    counted = sum(p.size for p in look.parameters if not p.frozen and p.name not in look.looked_up)
    outside = look.spectrum.negative.count + look.spectrum.positive.count
    share = 1 - outside / counted if look.looked_up and counted else look.spectrum.degenerate.fraction
    return Statistic(max(0.0, share) if counted else math.nan, (), words)


def directions_needed(look: Look) -> float:
    """Directions that a classifier's targets need and the inputs have: what no layer should fall far below.

    A regressor's bottleneck may be its purpose, as an autoencoder's is: 0.
    """
    if look.outputs.task != "classifier":
        return 0.0
    return min([look.outputs.outputs - 1.0, *([look.input_rank] if look.input_rank >= 1 else [])])


def _collapse(look: Look) -> Statistic:
    needed = directions_needed(look)
    words = "decades by which the directions of a representation are fewer than inputs have and targets need"
    if needed < 1:
        return Statistic(math.nan, (), words)

    def fewer(layer: Layer) -> float:
        # What goes around a layer does not pass its directions: a gate or a branch may be narrow.
        known = resolved(layer) and layer.units > 1 and layer.directions > 0 and not layer.bypassed
        return _log(needed / layer.directions) if known else math.nan

    return _worst(look, fewer, words)


def resolved(layer: Layer) -> bool:
    """Whether the spread is more than rounding, so that its directions mean something."""
    return layer.spread > PRECISION * layer.signal
