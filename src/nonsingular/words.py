"""Numbers in messages, as people say them."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from decimal import Decimal

PLURALS = (
    (r"(?<=[^aeiou])y$", "ies"),
    (r"(?<=[sx])is$", "es"),
    (r"(?<=matr)ix$|(?<=vert)ex$|(?<=ind)ex$", "ices"),
    (r"(?<=s|x|z)$|(?<=sh)$|(?<=ch)(?<!epoch)$", "es"),
    (r"$", "s"),
)
"""How nouns end, and how their plurals do; the first that fits counts."""


def counted(number: int, noun: str) -> str:
    """A count with its noun, in the singular where it is one.

    Args:
        number: how many.
        noun: of one of them; words before it stay as they are.

    >>> counted(1, "random vector"), counted(2000, "sample"), counted(0, "batch"), counted(3, "query")
    ('1 random vector', '2,000 samples', '0 batches', '3 queries')
    """
    return f"{number:,} {noun if number == 1 else plural(noun)}"


def plural(noun: str) -> str:
    """Of a noun that is regular, or Latin or Greek as a matrix and an axis are.

    >>> plural("box"), plural("array"), plural("property"), plural("axis"), plural("skip matrix")
    ('boxes', 'arrays', 'properties', 'axes', 'skip matrices')
    """
    return next(re.sub(end, plural_end, noun) for end, plural_end in PLURALS if re.search(end, noun))


def joined(words: Sequence[str]) -> str:
    """One or more things in a sentence.

    >>> joined(["smoke"]), joined(["smoke", "laptop", "paper"])
    ('smoke', 'smoke, laptop and paper')
    """
    return " and ".join([", ".join(words[:-1])] * (len(words) > 1) + [words[-1]])


def duration(seconds: float) -> str:
    """About how long something takes, in the smallest unit of which it is less than a hundred.

    >>> duration(42.0), duration(600.0), duration(9000.0), duration(35_999.0), duration(200_000.0)
    ('42 s', '10 min', '2.5 h', '10 h', '56 h')
    """
    if round(seconds) < 100:
        return f"{max(seconds, 1):.0f} s"
    if round(seconds / 60) < 100:
        return f"{seconds / 60:.0f} min"
    hours = seconds / 3600
    return f"{hours:.1f} h" if round(hours, 1) < 10 else f"{hours:,.0f} h"


def percentage(share: float, digits: int = 2) -> str:
    """A share in percent, with so many significant digits and never an exponent; a dash where there is none.

    >>> percentage(3.8), percentage(0.1234), percentage(0.000032), percentage(120.0), percentage(math.nan)
    ('380 %', '12 %', '0.0032 %', '12,000 %', '–')
    """
    return f"{significant(100 * share, digits)} %" if math.isfinite(share) else "–"


def significant(value: float, digits: int) -> str:
    """A finite number with so many significant digits, without an exponent.

    >>> significant(38400.0, 2), significant(0.00001234, 3)
    ('38,000', '0.0000123')
    """
    return f"{Decimal(f'{value:.{digits}g}'):,f}"


def digits(value: float) -> str:
    """Three digits; whole numbers below a million as they are.

    >>> digits(4096.0), digits(0.012345), digits(3.2e7)
    ('4,096', '0.0123', '3.2e+07')
    """
    return f"{int(value):,}" if abs(value) < 1e6 and value == int(value) else f"{value:.3g}"
