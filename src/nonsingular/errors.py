"""The one kind of error that is the caller's to mend."""


class InputError(ValueError):
    """Bad input: the message says in one line what is wrong and what would be right.

    The command line prints it without a traceback and exits with status 2.
    """


class MissingExtra(InputError):
    """An optional dependency is not installed; the message names the extra that brings it."""

    def __init__(self, what: str, extra: str) -> None:
        super().__init__(f"{what} needs an optional part: pip install 'nonsingular[{extra}]'")
