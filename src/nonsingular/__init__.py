"""Why will this deep network not train, and what would make it?

Singularities, symmetries, signals and curvature of PyTorch networks: measured, treated, and the treatment proved.
"""

__version__ = "0.1.0"
