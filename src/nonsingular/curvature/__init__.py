"""The Hessian as a linear operator; exact spectra, counts and densities, with error estimates."""

from nonsingular.curvature.gauss_newton import GaussNewton as GaussNewton
from nonsingular.curvature.hessian import Hessian as Hessian
from nonsingular.curvature.population import PopulationHessian as PopulationHessian
