"""Blumenfeld, Gilboa, Soudry 2020: networks that start with identical features.

Layers are hidden layers, the input layer (a convolution) among them; a run is one seed. A file declares a figure or
table, or several that are made alike. ``parts`` has what they are made of.

- ``fig1``: Figure 1 (and 5): hidden layers of several widths whose features are copies of fewer (§2.1, appendix E).
- ``fig3``: Figures 3 and 7: ConstNet's weight correlations over training from both starts, of one layer and of all.
- ``fig4``: Figure 4: whether layers of equal width break their symmetry as groups.
- ``fig8``: Figure 8 and table 2's largest correlation: which of LeakyNet's layers keep identical features.
- ``fig9``: Figures 9 and 10: the part of features, and of gradients by them, that breaks the symmetry, layer by layer.
- ``table1``: Table 1: ConstNet from identical features, and what may break their symmetry.
- ``table2``: Table 2: LeakyNet's accuracy with more and more layers of identical features.
- ``table3``: Table 3: ConstNet in 32 and in 16 bit, with and without noise of the computation, with more and more
  dropout.
- ``learning_rates``: §4: ConstNet from identical features at higher and higher learning rates, beside its He start.
- ``mixup``: ConstNet without batch normalisation, with scalar scales and mixup in its place (appendices A and D).
- ``ntk``: Appendix D: whether ConstNet's tangent kernel at the start is a linear model's.
- ``perturbation``: Appendix G: a perturbation that breaks the symmetry between channels, passed through "I" and "1"
  layers.
- ``signal``: §3 and appendices B, C, H: angles between signals, their norms, and gradients through depth at the start.
- ``subnetworks``: Appendix F: how many different sub-networks a network has under each symmetry of its features.
"""
