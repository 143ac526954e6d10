"""The Hessian as a linear operator; exact spectra, counts and densities, with error estimates."""

from nonsingular.curvature.distributed import Distributed
from nonsingular.curvature.gauss_newton import GaussNewton
from nonsingular.curvature.hessian import Hessian
from nonsingular.curvature.inertia import inertia, window_counts
from nonsingular.curvature.lanczos import Lanczos, SymmetricOperator
from nonsingular.curvature.moments import Mixture, fit_mixture, skilling_moments
from nonsingular.curvature.operator import Curvature
from nonsingular.curvature.population import PopulationHessian
from nonsingular.curvature.spectrum import METHODS, Count, Spectrum, spectrum

__all__ = [
    "METHODS",
    "Count",
    "Curvature",
    "Distributed",
    "GaussNewton",
    "Hessian",
    "Lanczos",
    "Mixture",
    "PopulationHessian",
    "Spectrum",
    "SymmetricOperator",
    "fit_mixture",
    "inertia",
    "skilling_moments",
    "spectrum",
    "window_counts",
]
