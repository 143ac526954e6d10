"""Random crops and mirror images (He et al. 2016, section 4.2)."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Generator, Tensor

PADDING = 4


def crop_and_mirror(
    images: Float[Tensor, "sample height width channel"], generator: Generator, padding: int = PADDING
) -> Float[Tensor, "sample height width channel"]:
    """Each image shifted by up to ``padding`` pixels either way (zeros come in) and mirrored in half of the cases.

    Args:
        images: channels last.
        generator: decides shifts and mirrors; on the CPU.
        padding: largest shift in pixels.
    """
    count, height, width, _ = images.shape
    down, right = torch.randint(2 * padding + 1, (2, count, 1), generator=generator).to(images.device)
    mirrored = (torch.rand(count, 1, generator=generator) < 0.5).to(images.device)
    rows = down + torch.arange(height, device=images.device)
    columns = torch.arange(width, device=images.device).expand(count, -1)
    columns = right + torch.where(mirrored, columns.flip(1), columns)
    padded = F.pad(images, (0, 0, padding, padding, padding, padding))
    sample = torch.arange(count, device=images.device)[:, None, None]
    return padded[sample, rows[:, :, None], columns[:, None, :]]
