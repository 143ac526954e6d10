"""Search of the numbers that a paper found by search: trials trained side by side, proposed by Optuna."""

from nonsingular.search.numbers import BIAS_REGULARISATION, NUMBERS, Range, ranges
from nonsingular.search.run import make_spec, search, summary

__all__ = ["BIAS_REGULARISATION", "NUMBERS", "Range", "make_spec", "ranges", "search", "summary"]
