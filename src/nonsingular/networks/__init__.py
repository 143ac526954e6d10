"""What is studied: networks, skip matrices and initialisations. Nothing here knows of training or measuring."""

from nonsingular.networks.constnet import ConstNet, ConstNetSpec
from nonsingular.networks.densenet import Dense, DenseSpec
from nonsingular.networks.fractal import Fractal, FractalSpec
from nonsingular.networks.fully_connected import FullyConnected, Layer
from nonsingular.networks.highway import Highway, HighwaySpec
from nonsingular.networks.initialisation import INITIALISATIONS, initialise
from nonsingular.networks.leakynet import LeakyNet, LeakyNetSpec
from nonsingular.networks.own import OwnNetwork
from nonsingular.networks.residual import Residual, ResidualSpec, plainnet, resnet, resnext, wide_resnet
from nonsingular.networks.skips import copied, equalised, orthogonal, turned
from nonsingular.networks.spec import NAMED, Architecture, DropoutSpec, NetworkSpec, build, named
from nonsingular.networks.stacks import Stack, StackSpec
from nonsingular.networks.vgg import VGG, VGGSpec

__all__ = [
    "INITIALISATIONS",
    "NAMED",
    "VGG",
    "Architecture",
    "ConstNet",
    "ConstNetSpec",
    "Dense",
    "DenseSpec",
    "DropoutSpec",
    "Fractal",
    "FractalSpec",
    "FullyConnected",
    "Highway",
    "HighwaySpec",
    "Layer",
    "LeakyNet",
    "LeakyNetSpec",
    "NetworkSpec",
    "OwnNetwork",
    "Residual",
    "ResidualSpec",
    "Stack",
    "StackSpec",
    "VGGSpec",
    "build",
    "copied",
    "equalised",
    "initialise",
    "named",
    "orthogonal",
    "plainnet",
    "resnet",
    "resnext",
    "turned",
    "wide_resnet",
]
