"""Directions in weight space, and the loss along lines, over planes and around training runs."""

from nonsingular.landscape.convexity import convexity
from nonsingular.landscape.directions import (
    NORMALISATIONS,
    Direction,
    Path,
    between,
    cosine,
    eigenvectors,
    gaussian,
    normalised,
    principal,
)
from nonsingular.landscape.explore import DIRECTIONS, Look, begin, explore, save, summary
from nonsingular.landscape.losses import PRECISIONS, Losses
from nonsingular.landscape.roughness import compare, roughness
from nonsingular.landscape.surface import DEFAULT, EXACT, Settings, line, surface, trajectory

__all__ = [
    "DEFAULT",
    "DIRECTIONS",
    "EXACT",
    "NORMALISATIONS",
    "PRECISIONS",
    "Direction",
    "Look",
    "Losses",
    "Path",
    "Settings",
    "begin",
    "between",
    "compare",
    "convexity",
    "cosine",
    "eigenvectors",
    "explore",
    "gaussian",
    "line",
    "normalised",
    "principal",
    "roughness",
    "save",
    "summary",
    "surface",
    "trajectory",
]
