"""What is studied: networks, skip matrices and initialisations. Nothing here knows of training or measuring."""

from nonsingular.networks.fully_connected import FullyConnected, Layer
from nonsingular.networks.initialisation import INITIALISATIONS, initialise
from nonsingular.networks.skips import copied, equalised, orthogonal
from nonsingular.networks.spec import NAMED, Architecture, NetworkSpec, build, named

__all__ = [
    "INITIALISATIONS",
    "NAMED",
    "Architecture",
    "FullyConnected",
    "Layer",
    "NetworkSpec",
    "build",
    "copied",
    "equalised",
    "initialise",
    "named",
    "orthogonal",
]
