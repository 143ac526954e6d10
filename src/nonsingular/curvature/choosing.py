"""Which parameters are meant: by name, the start of a name, a pattern, as modules or as parameters."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from fnmatch import fnmatchcase
from typing import Any

from torch import Tensor, nn

from nonsingular.checks import shown
from nonsingular.errors import InputError

Choice = str | re.Pattern[str] | nn.Parameter | nn.Module
"""A name (``"head.weight"``), what names start with (``"head"``), a pattern (``"*.bias"``), a regular expression
(``re.compile(...)``, found anywhere in a name), a module, a parameter."""


def choose(model: nn.Module, wanted: Choice | Iterable[Choice] | None) -> dict[str, Tensor]:
    """Parameter name -> parameter, in the order of the choice (of the model within a prefix, pattern or module).

    Args:
        model: whose parameters are chosen from.
        wanted: one choice or several; all parameters that require a gradient by default. A parameter that several
            choices mean, or that has several names, is taken once.

    Raises:
        InputError: a choice means no parameter; the chosen ones cannot be differentiated.
    """
    everything = dict(model.named_parameters())
    if wanted is None:
        chosen: dict[str, Tensor] = {k: p for k, p in everything.items() if p.requires_grad}
        if not chosen:
            why = "none of them requires a gradient" if everything else "it has none at all"
            raise InputError(f"the model has no parameters to differentiate: {why}")
    else:
        aliases = dict(model.named_parameters(remove_duplicate=False))  # a tied weight under its other names too
        chosen = {name: everything[name] for w in several(wanted) for name in _meant(aliases, everything, w)}
        if not chosen:
            raise InputError("params is empty: name at least one parameter, or leave it out for all")
    for name, p in chosen.items():
        if not p.is_floating_point():
            raise InputError(f"parameter {name} has dtype {p.dtype}; a Hessian needs real floating-point parameters")
    if sum(p.numel() for p in chosen.values()) == 0:
        raise InputError("the chosen parameters have no entries")
    return chosen


def several(wanted: Choice | Iterable[Choice]) -> Iterator[Choice]:
    """The choices one by one."""
    if isinstance(wanted, str | re.Pattern | nn.Parameter | nn.Module):
        return iter([wanted])
    if not isinstance(wanted, Iterable):
        raise InputError(f"params must be names, patterns, modules and parameters, got {shown(wanted)}")
    return iter(wanted)


def named(names: Sequence[str], wanted: str) -> list[str]:
    """Those of ``names`` that a name, the start of one (up to a dot) or a pattern means; none is an error.

    Raises:
        InputError: none; the message says which there are.
    """
    if wanted in names:
        return [wanted]
    found = [n for n in names if n.startswith(f"{wanted}.") or fnmatchcase(n, wanted)]
    if not found:
        raise InputError(f"the model has no {wanted!r}; {_there_are(names)}")
    return found


def _meant(aliases: dict[str, nn.Parameter], everything: dict[str, nn.Parameter], wanted: Any) -> list[str]:
    if isinstance(wanted, str):
        parameters = [aliases[n] for n in named(list(aliases), wanted)]
    elif isinstance(wanted, re.Pattern):
        parameters = [p for n, p in aliases.items() if wanted.search(n)]
        if not parameters:
            raise InputError(f"no parameter's name has {wanted.pattern!r} in it; {_there_are(list(everything))}")
    elif isinstance(wanted, nn.Parameter):
        parameters = [wanted]
    elif isinstance(wanted, nn.Module):
        parameters = list(wanted.parameters())
        if not parameters:
            raise InputError(f"{type(wanted).__name__} has no parameters; {_there_are(list(everything))}")
    else:
        raise InputError(f"params takes names, patterns, modules and parameters, got {type(wanted).__name__}")
    names = {id(p): name for name, p in everything.items()}
    for p in parameters:
        if id(p) not in names:
            whose = "" if isinstance(wanted, nn.Parameter) else f" that {type(wanted).__name__} has"
            raise InputError(
                f"the model has no parameter of shape {tuple(p.shape)}{whose}; {_there_are(list(everything))}"
            )
    return list(dict.fromkeys(names[id(p)] for p in parameters))


def _there_are(names: Sequence[str]) -> str:
    return f"its parameters are {', '.join(names[:8])}{', ...' if len(names) > 8 else ''}"
