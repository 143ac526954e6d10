"""Orhan and Pitkow: Skip Connections Eliminate Singularities (ICLR 2018).

Layers are hidden layers, unless a file says otherwise; a run is one seed, and run k of every network starts from the
same weights. A file declares a figure or table, or several that are made alike. ``parts`` has what they are made of.

- ``fig1``: Figure 1: singularities of the Hessian at exact constructions, and whether a skip connection removes
  them.
- ``fig2``: Figure 2: two hidden units (b, c) and linear dependence (d, e), solved.
- ``fig3``: Figure 3: 20-layer plain, residual and hyper-residual networks; their training accuracy and their
  singularities.
- ``fig4``: Figure 4: the best and the worst of many equal plain networks, and how near singularities they are.
- ``fig5``: Figure 5: bias regularisation and the malicious start on 30 layers; how degenerate each network's Hessian
  is.
- ``fig6``: Figure 6: gradient norms by layer before training and after the first epochs, and what one batch
  normalisation adds.
- ``fig7``: Figure 7: skip matrices of fewer and fewer orthonormal vectors, and how often units are silent.
- ``fig8``: Figure 8: skip matrices with the eigenvalues of an orthogonal one, and ever more correlated skip vectors.
- ``fig_s1``: Figure S1: exact Hessian spectra of small networks, plain against residual.
- ``fig_s2``: Figure S2: the best and the worst of equal small plain networks, by their exact Hessian spectra.
- ``fig_s3``: Figure S3: fractions by four moments and by Lanczos, held against exact counts.
- ``fig_s4``: Figure S4: linear three-layer networks with two modes, and their Hessian (Note 5).
- ``fig_s5``: Figure S5: deep linear networks, their phase portraits and their speed (Note 5).
- ``fig_s6``: Figure S6: shallow networks, plain against residual, in which gradients should not vanish (Note 7).
- ``fig_s7``: Figure S7: figure 4 on SVHN and, with ``--data stl10``, on STL-10.
- ``depth``: Where trainability ends: plain and residual networks of 2 to 50 layers.
- ``input_scale``: What the scale of the inputs decides: the paper's orderings under several scalings, and what may
  turn them round.
"""
