"""Random crops and mirror images (He et al. 2016, section 4.2; Zagoruyko and Komodakis 2016, section 3)."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int64
from torch import Generator, Tensor

PADDING = 4


def crop_and_mirror(
    images: Float[Tensor, "sample height width channel"],
    generator: Generator,
    padding: int = PADDING,
    reflect: bool = False,
) -> Float[Tensor, "sample height width channel"]:
    """Each image shifted by up to ``padding`` pixels either way and mirrored in half of the cases.

    Args:
        images: channels last.
        generator: decides shifts and mirrors; on the CPU.
        padding: largest shift in pixels.
        reflect: whether reflections of the image come in from the sides, instead of zeros.
    """
    count, height, width, _ = images.shape
    down, right = torch.randint(2 * padding + 1, (2, count, 1), generator=generator).to(images.device)
    mirrored = (torch.rand(count, 1, generator=generator) < 0.5).to(images.device)
    rows = down + torch.arange(height, device=images.device)
    columns = torch.arange(width, device=images.device).expand(count, -1)
    columns = right + torch.where(mirrored, columns.flip(1), columns)
    sample = torch.arange(count, device=images.device)[:, None, None]
    if reflect:
        rows, columns = _reflected(rows - padding, height), _reflected(columns - padding, width)
        return images[sample, rows[:, :, None], columns[:, None, :]]
    padded = F.pad(images, (0, 0, padding, padding, padding, padding))
    return padded[sample, rows[:, :, None], columns[:, None, :]]


def _reflected(places: Int64[Tensor, "sample place"], size: int) -> Int64[Tensor, "sample place"]:
    """Places outside of 0 to ``size - 1`` reflected at the pixels there, as often as it takes."""
    period = max(2 * (size - 1), 1)
    places = places % period
    return torch.minimum(places, period - places) if size > 1 else torch.zeros_like(places)
