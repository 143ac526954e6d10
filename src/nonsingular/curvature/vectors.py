"""Vectors over parameters: flat, or as named or listed tensors of the parameters' shapes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from nonsingular.curvature.choosing import named
from nonsingular.errors import InputError

Named = Mapping[str, Tensor]
Vector = Tensor | Named | Sequence[Tensor]


@dataclass(frozen=True)
class Layout:
    """Which entries of a flat vector belong to which parameter.

    Attributes:
        names: of the parameters, in the order of the vector.
        shapes: of the parameters.
        of: what the entries are of, in the words of messages.
    """

    names: tuple[str, ...]
    shapes: tuple[torch.Size, ...]
    of: str = "parameter"

    @property
    def sizes(self) -> list[int]:
        """Entries of each parameter."""
        return [shape.numel() for shape in self.shapes]

    def slices(self, wanted: str | Sequence[str]) -> dict[str, slice]:
        """Parameter name -> its entries, for names, what names start with, and patterns.

        Raises:
            InputError: a choice means none of the parameters.
        """
        ends = torch.tensor([0, *self.sizes]).cumsum(0).tolist()
        whole = {n: slice(a, b) for n, a, b in zip(self.names, ends, ends[1:], strict=False)}
        several = [wanted] if isinstance(wanted, str) else wanted
        return {name: whole[name] for w in several for name in named(self.names, w)}

    def flatten(self, vector: Named | Sequence[Tensor]) -> Float[Tensor, " P"]:
        """One flat vector.

        Raises:
            InputError: names or shapes are not the parameters'.
        """
        if isinstance(vector, Mapping):
            if set(vector) != set(self.names):
                odd = sorted(set(vector) ^ set(self.names))[0]
                raise InputError(f"a vector by name must name every {self.of} once: {odd!r} is missing or too much")
            parts = [vector[name] for name in self.names]
        else:
            parts = list(vector)
        shapes = [tuple(p.shape) for p in parts]
        if shapes != [tuple(s) for s in self.shapes]:
            expected = ", ".join(f"{n} {tuple(s)}" for n, s in zip(self.names, self.shapes, strict=True))
            raise InputError(f"expected tensors of the {self.of}s' shapes ({expected}), got {shapes}")
        return torch.cat([p.detach().reshape(-1) for p in parts])

    def tensors(self, vector: Float[Tensor, " P"]) -> list[Tensor]:
        """The flat vector as tensors of the parameters' shapes."""
        return [part.reshape(s) for part, s in zip(vector.split(self.sizes), self.shapes, strict=True)]

    def named(self, vector: Float[Tensor, " P"]) -> dict[str, Tensor]:
        """The same by parameter name."""
        return dict(zip(self.names, self.tensors(vector), strict=True))

    def like(self, vector: Float[Tensor, " P"], form: Vector) -> Tensor | dict[str, Tensor] | list[Tensor]:
        """The flat vector in another's form."""
        if isinstance(form, Tensor):
            return vector
        return self.named(vector) if isinstance(form, Mapping) else self.tensors(vector)

    def part(self, slices: Mapping[str, slice]) -> Layout:
        """The layout of some parameters by themselves."""
        shapes = dict(zip(self.names, self.shapes, strict=True))
        return Layout(tuple(slices), tuple(shapes[n] for n in slices), self.of)


def layout_of(operator: object) -> Layout | None:
    """The layout of an operator over parameters (a tensor's own ``layout`` is something else)."""
    found = getattr(operator, "layout", None)
    return found if isinstance(found, Layout) else None
