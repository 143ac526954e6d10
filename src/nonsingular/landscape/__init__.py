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
from nonsingular.landscape.losses import PRECISIONS, Losses
from nonsingular.landscape.roughness import compare, roughness
from nonsingular.landscape.surface import EXACT, Settings, line, surface, trajectory

__all__ = [
    "EXACT",
    "NORMALISATIONS",
    "PRECISIONS",
    "Direction",
    "Losses",
    "Path",
    "Settings",
    "between",
    "compare",
    "convexity",
    "cosine",
    "eigenvectors",
    "gaussian",
    "line",
    "normalised",
    "principal",
    "roughness",
    "surface",
    "trajectory",
]
