"""What a layer's incoming weights say: eliminated units, twins, missing directions."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from nonsingular import measures
from nonsingular.diagnosis.layers import groups, unit_biases, unit_weights
from nonsingular.diagnosis.values import evenly

SAME = 1e-3  # two units are twins when their weights differ by less than this part of their norm
NOTHING = 1e-6  # of the largest norm in the layer: no incoming weights
RANK = 1e-5  # of the largest singular value: no direction
COLUMNS = 2048  # inputs of which rank and overlap are taken
MOST = 4096  # units among which twins are looked for
DIRECTIONS = 16  # random ones; that two different rows agree in all to SAME happens to one pair in 10^30 or so


def compare(module: nn.Module, units: int, arrived: dict[int, Tensor], most: int) -> dict[str, Any]:
    """Measures of a layer's weights, as fields of ``look.Layer``.

    Args:
        module: the layer.
        units: of its output.
        arrived: ``id(parameter)`` -> where any gradient arrived.
        most: units of which rank and overlap are taken; norms are of all units, twins are looked for among ``MOST``.

    Returns:
        Fields, and ``weight``: the parameter whose gradient speaks for the layer. Empty for a layer whose weights are
        not one row a unit.
    """
    rows = unit_weights(module, units)
    if rows is None or not rows.is_floating_point():
        return {}
    rows = rows.float()
    biases = unit_biases(module, units)
    norms = measures.incoming_norm(rows)
    found: dict[str, Any] = {"weight_norm": float(norms.mean()), "weight": getattr(module, "weight", None)}
    reached = unit_weights(module, units, gradient=arrived)
    empty = norms <= NOTHING * norms.max()
    stuck = empty if reached is None else empty & ~reached.any(1)
    found["eliminated"] = float(stuck.float().mean())
    full = rows if biases is None else torch.cat([rows, biases.float()[:, None]], dim=1)
    alive = (~empty).nonzero().flatten()
    if full.shape[1] < 2 or len(alive) < 2:
        return found
    group = torch.arange(units, device=rows.device) * groups(module) // units
    compared = alive[evenly(len(alive), MOST).to(alive.device)]
    same = _same(full[compared]) & (group[compared, None] == group[compared])
    distinct = ~same.tril(-1).any(1)
    found["twins"] = float(same.any(1).float().mean())
    # Units that differ by their bias alone see the same feature of the input.
    alike = _same(rows[compared]) & (group[compared, None] == group[compared]) if rows.shape[1] > 1 else same
    found["distinct"] = float((~alike.tril(-1).any(1)).float().mean())
    columns = evenly(rows.shape[1], COLUMNS).to(rows.device)
    different = compared[distinct]
    picked = different[evenly(len(different), most).to(rows.device)]
    kept = rows[picked][:, columns]
    found["mean_overlap"] = float(measures.mean_overlap(rows[compared[evenly(len(compared), most)]][:, columns]))
    if groups(module) == 1:
        found["missing_rank"] = _missing_rank(kept)
    return found


def _same(rows: Float[Tensor, "unit input"]) -> Bool[Tensor, "unit unit"]:
    """Which rows are equal to within ``SAME`` of their norm, seen in few random directions if they are long."""
    if rows.shape[1] > DIRECTIONS:
        generator = torch.Generator().manual_seed(0)
        rows = rows @ torch.randn(rows.shape[1], DIRECTIONS, generator=generator).to(rows) / DIRECTIONS**0.5
    norms = rows.norm(dim=1)
    distance = torch.cdist(rows, rows, compute_mode="donot_use_mm_for_euclid_dist")
    return (distance <= SAME * torch.maximum(norms[:, None], norms)).fill_diagonal_(False)


def _missing_rank(rows: Float[Tensor, "unit input"]) -> float:
    most = min(rows.shape)
    if most < 2:
        return math.nan
    values = torch.linalg.svdvals(rows.double())
    return 1 - int((values > RANK * values[0]).sum()) / most


def telling(p: Tensor) -> bool:
    """Whether there are enough weights to tell drawn ones from trained ones."""
    return p.ndim >= 2 and p.numel() >= 256


def drawn(p: Tensor) -> bool:
    """Whether weights are spread as initialisations draw them: uniformly or normally, or all the same.

    By the distance of Kolmogorov and Smirnov from a uniform distribution, and from normal ones, whole or cut off at two
    deviations; training mixes what was drawn with something else.
    """
    x = p.detach().double().flatten().cpu()
    x = x[:: max(1, len(x) // DRAWN)]
    x = (x - x.mean()).sort().values
    largest, deviation = float(x.abs().max()), float(x.square().mean().sqrt())
    if not deviation:
        return True
    cut = x / deviation * CUT_OFF
    inner = float(torch.special.ndtr(torch.tensor(2.0).double()) * 2 - 1)
    ways = (
        (x / largest + 1) / 2,
        torch.special.ndtr(x / deviation),
        ((torch.special.ndtr(cut) - 0.5) / inner + 0.5).clamp(0, 1),
    )
    ranks = torch.arange(1, len(x) + 1, dtype=torch.float64) / len(x)
    return min(float((way - ranks).abs().max()) for way in ways) < 1.95 / len(x) ** 0.5


def fresh(modules: Iterable[nn.Module]) -> bool:
    """Whether weights look as initialisations draw them."""
    weights = [p for m in modules for p in m.parameters(recurse=False) if telling(p)]
    return not weights or sum(map(drawn, weights)) >= 0.5 * len(weights)


def trained(p: Tensor, module: nn.Module) -> bool:
    """Whether weights of a module, or its biases, show that it has been trained."""
    return (telling(p) and not drawn(p)) or _biases_moved(module)


def _biases_moved(module: nn.Module) -> bool:
    """Whether a layer's biases are spread further than PyTorch draws them, within one over the root of its inputs.

    By training, as others start them all the same or nearer zero. It tells layers with too few weights for ``drawn``.
    """
    weight, bias = getattr(module, "weight", None), getattr(module, "bias", None)
    if not (isinstance(weight, Tensor) and isinstance(bias, Tensor)) or weight.ndim < 2 or not bias.numel():
        return False
    bias = bias.detach()
    return bool(bias.max() > bias.min()) and float(bias.abs().max()) > 1.001 * weight[0].numel() ** -0.5


DRAWN = 20_000  # weights that are looked at
CUT_OFF = 0.8796  # deviation of a normal distribution that is cut off at two deviations, over its own before
