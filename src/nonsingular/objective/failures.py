"""What goes wrong, in words: an error of the user's code with its line, and memory that ran out."""

from __future__ import annotations

import textwrap
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from nonsingular.errors import BadData, InputError, first_line
from nonsingular.memory import available_bytes
from nonsingular.places import raised_in
from nonsingular.words import counted

if TYPE_CHECKING:
    from nonsingular.objective.data import Batch

FAILURES = (
    RuntimeError,
    TypeError,
    ValueError,
    IndexError,
    KeyError,
    AttributeError,
    AssertionError,
    NotImplementedError,
    NameError,
    ImportError,
    ArithmeticError,
)
"""What a user's model or loss raises when it is given what it cannot take, or where its code is wrong."""


def told(error: BaseException, width: int = 300) -> str:
    """What an error says, its kind where the message alone is no sentence, and the line of the user's it comes from.

    Args:
        error: as it was caught.
        width: letters of its message at most.

    >>> told(KeyError("labels"))
    "KeyError: 'labels'"
    """
    kind = "" if type(error) in (RuntimeError, ValueError) or isinstance(error, InputError) else type(error).__name__
    said = textwrap.shorten(first_line(error), width, placeholder=" ...")
    return f"{kind}: {said}{raised_in(error)}" if kind and kind != said else f"{said}{raised_in(error)}"


def is_of_code(error: BaseException) -> bool:
    """Whether an error is one of the code itself, whatever it is given: a name or an attribute that is not there.

    >>> import nonsingular as ns
    >>> ns.objective.is_of_code(NameError("name 'sefl' is not defined"))
    True
    """
    if isinstance(error, AttributeError):
        return not isinstance(error.obj, Tensor)  # inputs of another kind have other attributes
    return isinstance(error, NameError | ImportError)


def is_out_of_memory(error: BaseException) -> bool:
    """Whether PyTorch could not allocate (it has a class of its own for that only on GPUs).

    >>> import nonsingular as ns
    >>> ns.objective.is_out_of_memory(ValueError("shapes differ"))
    False
    """
    return isinstance(error, torch.OutOfMemoryError | MemoryError) or "can't allocate memory" in str(error)


def out_of_memory(batch: Batch) -> InputError:
    """The error for a batch too large for this machine.

    >>> import torch
    >>> import nonsingular as ns
    >>> batch = next(ns.objective.read([(torch.zeros(8, 3), torch.zeros(8))]))
    >>> print(ns.objective.out_of_memory(batch))
    out of memory on a batch of 8 samples: give smaller batches, or microbatch=
    """
    return BadData(
        f"out of memory on a batch of {counted(batch.samples, 'sample')}: give smaller batches, or microbatch="
    )


def require_bytes(
    needed: float, device: torch.device, what: str, instead: str, share: float = 0.7, there: float | None = None
) -> None:
    """Refuse, before it is begun, what would not fit into memory.

    Args:
        needed: bytes.
        device: where.
        what: needs them, as the beginning of a sentence.
        instead: what the user can do about it.
        share: of the available memory that may be taken.
        there: bytes available, where the caller knows it better.

    Raises:
        InputError: more is needed than there is.

    >>> import torch
    >>> import nonsingular as ns
    >>> try:
    ...     ns.objective.require_bytes(1e18, torch.device("cpu"), "the matrix", "use method='lanczos'")
    ... except ns.InputError as error:
    ...     "lanczos" in str(error)
    True
    """
    there = available_bytes(device) if there is None else there
    if needed > share * there:
        raise InputError(
            f"{what} needs {needed / 2**30:.3g} GiB, and {there / 2**30:.3g} GiB are free: {instead}, or free memory"
        )
