"""Directions in weight space, and the loss along lines, over planes and around training runs."""

from nonsingular.landscape.convexity import convexity
from nonsingular.landscape.courses import RANDOM, crossing, random_walk
from nonsingular.landscape.directions import (
    NORMALISATIONS,
    between,
    cosine,
    eigenvectors,
    gaussian,
    normalised,
)
from nonsingular.landscape.explore import DIRECTIONS, Look, discard, earlier, explore, save, summary
from nonsingular.landscape.export import save_h5, save_vtk
from nonsingular.landscape.fitting import Direction
from nonsingular.landscape.losses import PRECISIONS, Losses
from nonsingular.landscape.metrics import METRICS, accuracy
from nonsingular.landscape.paths import Path, principal, projected
from nonsingular.landscape.roughness import compare, roughness
from nonsingular.landscape.surface import DEFAULT, EXACT, Settings, line, surface, trajectory

__all__ = [
    "DEFAULT",
    "DIRECTIONS",
    "EXACT",
    "METRICS",
    "NORMALISATIONS",
    "PRECISIONS",
    "RANDOM",
    "Direction",
    "Look",
    "Losses",
    "Path",
    "Settings",
    "accuracy",
    "between",
    "compare",
    "convexity",
    "cosine",
    "crossing",
    "discard",
    "earlier",
    "eigenvectors",
    "explore",
    "gaussian",
    "line",
    "normalised",
    "principal",
    "projected",
    "random_walk",
    "roughness",
    "save",
    "save_h5",
    "save_vtk",
    "summary",
    "surface",
    "trajectory",
]
