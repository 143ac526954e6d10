"""The one kind of error that is the caller's to mend."""

import re
import shlex

_NUMBERS = re.compile(r"\b(tensor|array)\((?:[^()]|\([^()]*\))*\)")
"""What is printed of a tensor or an array."""


class InputError(ValueError):
    """Bad input: the message says in one line what is wrong and what would be right.

    The command line prints it without a traceback and exits with status 2. Numbers of a tensor or an array that was
    given in the place of something else are left out.

    >>> import nonsingular as ns
    >>> try:
    ...     ns.networks.named("plain", depth=0)
    ... except ns.InputError as error:
    ...     print(error)
    network: depth must be at least 1, got 0
    """

    def __init__(self, message: str) -> None:
        super().__init__(" ".join(_NUMBERS.sub(r"\1(...)", message).split()))


class BadData(InputError):
    """Bad batches: whoever knows where they came from says that before the message.

    Attributes:
        of: the argument that they were given as.
    """

    def __init__(self, message: str, of: str = "batches") -> None:
        super().__init__(message)
        self.of = of


class MissingExtra(InputError):
    """An optional dependency is not installed; the message names the packages that bring it."""

    def __init__(self, what: str, extra: str) -> None:
        super().__init__(f"{what} needs an optional part: {install(extra)}")


class LibraryWarning(UserWarning):
    """What this library warns of; the command line prints it without the line of code."""


def first_line(error: BaseException) -> str:
    """The first line of an error's message.

    >>> first_line(ValueError("what is wrong" + chr(10) + "and more"))
    'what is wrong'
    """
    return (str(error).strip() or type(error).__name__).splitlines()[0]


def a_kind(value: object) -> str:
    """Of what kind a value is, with its article.

    >>> a_kind(1), a_kind({})
    ('an int', 'a dict')
    """
    name = type(value).__name__
    return f"{'an' if name[0].lower() in 'aeiou' else 'a'} {name}"


def install(extra: str) -> str:
    """The command that installs an optional part, wherever this package itself came from.

    Args:
        extra: its name in ``pyproject.toml``.

    >>> install("interactive")
    "python -m pip install 'plotly>=6.0'"
    """
    from importlib import metadata

    try:
        required = metadata.requires("nonsingular") or []
    except metadata.PackageNotFoundError:  # a folder on the path, never installed
        required = []
    marked = re.compile(rf"(.+?)\s*;.*\bextra == ['\"]{re.escape(extra)}['\"]")
    packages = [found[1] for found in map(marked.fullmatch, required) if found]
    return f"python -m pip install {shlex.join(packages)}" if packages else f"the extra {extra!r} of nonsingular"
