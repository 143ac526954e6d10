"""The Hessian and its relatives as linear operators; exact spectra, counts and densities, with error estimates."""

from nonsingular.curvature.algebra import Linear, Symmetric
from nonsingular.curvature.diagonals import Diagonal, diagonal
from nonsingular.curvature.distributed import Distributed
from nonsingular.curvature.eigenpairs import Eigenpairs, eigenpairs
from nonsingular.curvature.fisher import EmpiricalFisher, MonteCarloFisher
from nonsingular.curvature.gauss_newton import GaussNewton
from nonsingular.curvature.hessian import Hessian
from nonsingular.curvature.inertia import inertia, window_counts
from nonsingular.curvature.jacobian import Jacobian
from nonsingular.curvature.kfac import KFAC
from nonsingular.curvature.lanczos import Lanczos, Lockstep, SymmetricOperator
from nonsingular.curvature.layers import by_layer
from nonsingular.curvature.moments import Mixture, fit_mixture, skilling_moments
from nonsingular.curvature.operator import Curvature
from nonsingular.curvature.population import PopulationHessian
from nonsingular.curvature.solving import Solution, solve
from nonsingular.curvature.spectrum import METHODS, Count, Spectrum, spectrum
from nonsingular.curvature.traces import Estimate, frobenius, trace

__all__ = [
    "KFAC",
    "METHODS",
    "Count",
    "Curvature",
    "Diagonal",
    "Distributed",
    "Eigenpairs",
    "EmpiricalFisher",
    "Estimate",
    "GaussNewton",
    "Hessian",
    "Jacobian",
    "Lanczos",
    "Linear",
    "Lockstep",
    "Mixture",
    "MonteCarloFisher",
    "PopulationHessian",
    "Solution",
    "Spectrum",
    "Symmetric",
    "SymmetricOperator",
    "by_layer",
    "diagonal",
    "eigenpairs",
    "fit_mixture",
    "frobenius",
    "inertia",
    "skilling_moments",
    "solve",
    "spectrum",
    "trace",
    "window_counts",
]
