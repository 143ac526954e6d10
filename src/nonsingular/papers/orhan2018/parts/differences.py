"""What the paper's protocol leaves open or is done otherwise here, in sentences that several figures share."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from nonsingular.experiments.run.instruments import EVALUATED, PROBE_SAMPLES
from nonsingular.experiments.run.instruments.hessian import FEW_STEPS, MOMENT_PROBES
from nonsingular.experiments.spec import LAST, SCALES, Spec
from nonsingular.words import joined


def _thousands(count: int) -> str:
    return f"{count:,}".replace(",", " ")


SCALED = {
    "unit": "are standardised pixel by pixel, then divided by one number so that their root mean square norm is 1",
    "standardised": "are standardised pixel by pixel",
}


def scaled(spec: Callable[[str], Spec]) -> str:
    """How a figure's images are scaled, at which of its scales."""
    at: dict[str, list[str]] = {}
    for scale in SCALES:
        data = spec(scale).data
        assert data is not None
        at.setdefault(SCALED.get(data.scaling, f"are {data.scaling}"), []).append(scale)
    told = "; ".join(
        f"they {how}" + (f" at {joined(scales)} scale" if len(at) > 1 else "") for how, scales in at.items()
    )
    return f"The paper does not say how it scaled its images: here {told}. (--scaling takes another.)"


def both_data_sets(spec: Callable[[str], Spec]) -> str:
    """Of figures that the paper draws for CIFAR-10 and CIFAR-100: which one is run, and how to run the other."""
    at = {scale: data.name for scale in SCALES if (data := spec(scale).data)}
    by_data = {name: [scale for scale, other in at.items() if other == name] for name in dict.fromkeys(at.values())}
    told = ", ".join(f"{name} at {joined(scales)} scale" for name, scales in by_data.items())
    return (
        f"The paper shows CIFAR-10 and CIFAR-100. One data set is trained on at a time: {told}; another with "
        f"nonsingular reproduce {spec('paper').experiment} --data cifar100 or --data cifar10."
    )


def damped(spec: Callable[[str], Spec]) -> str:
    """What a norm of 1 does to the gradients of deep plain networks, and at which of a figure's scales."""
    at = [scale for scale in SCALES if (data := spec(scale).data) and data.scaling == "unit"]
    where = "" if len(at) == len(SCALES) else f" ({joined(at)} scale)"
    return (
        f"At a norm of 1{where} most weight gradients of plain 30-layer networks are below Adam's epsilon of 1e-8 at "
        "the start, so that their first steps are damped: 97 % or more of them (three networks on CIFAR-10; root mean "
        "square gradients of 2e-9 to 4e-9 by layer), against 34 % in residual ones and 48 to 53 % in plain ones of 20 "
        "layers; orhan2018/input-scale tells what the scaling decides."
    )


UNDAMPED = (
    "A norm of 1 puts the gradients "
    "of deep plain networks below Adam's epsilon of 1e-8, but not of networks with skips: at the start it is so for "
    "34 % of the weight gradients with identity skips, zeros of silent units nearly all, at most 21 % with one skip "
    "vector and at most 7 % with dense matrices (30 layers, three networks each on CIFAR-10)."
)

MOMENTS = (
    "The paper does not say on how many samples and with how many random vectors its moments are taken; here on "
    f"{_thousands(PROBE_SAMPLES)} training samples with {MOMENT_PROBES} vectors. The mixture is fitted by an "
    "optimiser, not by a grid search."
)


def estimated_after(spec: Callable[[str], Spec]) -> str:
    """After which epochs each of the two estimates is made, at which of a figure's scales."""
    at: dict[str, list[str]] = {}
    for scale in SCALES:
        made = spec(scale).instruments
        both = {name: made.get(f"hessian_{key}") for name, key in (("moments", "moments"), ("Lanczos", "few_lanczos"))}
        told = ", ".join(f"{name} {_epochs(when) if when else 'at none'}" for name, when in both.items())
        at.setdefault(told, []).append(scale)
    told = "; ".join(f"{what} ({joined(scales)})" for what, scales in at.items())
    return f"A claim takes of each estimate the mean over its own epochs after the start: {told}."


def _epochs(when: Sequence[int]) -> str:
    return joined(["the last" if epoch == LAST else str(epoch) for epoch in when])


ESTIMATED = (
    MOMENTS,
    "Where the paper's estimate from four moments was held against exact counts (orhan2018/figS3), the two were hardly "
    "related in its own range, networks at least 99.8 % degenerate (no correlation beyond chance over 11 networks and "
    "epochs). After six epochs the moments put 7 and 32 eigenvalues of a plain and a "
    "residual network of 20 layers outside the window, 160 Lanczos steps 224 and 8 100. So Lanczos quadrature "
    f"estimates the shares beside them, from laptop scale on, with {FEW_STEPS} products and one random vector a "
    "network, the same for all. Claims are judged by both; their intervals are over runs, and hold neither estimate's "
    "own error.",
    estimated_after,
)
"""Of figures whose eigenvalues are estimated: how the moments are taken, and what stands beside them."""

EPOCHS = (
    "The paper does not say in words for how many epochs it trained here; at paper scale it is 100, as its section 2.4 "
    "has it for figure 4 and the axis of figure 7b shows."
)

EVALUATED_ON = (
    f"Accuracies are those of the first {_thousands(EVALUATED)} training and test samples; units, gradients and "
    f"Hessians are measured on the first {_thousands(PROBE_SAMPLES)} training samples."
)

IMAGES = (scaled, EVALUATED_ON)
"""Of all figures whose networks are trained."""

OWN_SKIPS = "The paper does not say whether layers share a skip matrix: here every layer draws its own."
