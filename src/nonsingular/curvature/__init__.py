"""The Hessian as a linear operator; exact spectra, counts and densities, with error estimates."""
