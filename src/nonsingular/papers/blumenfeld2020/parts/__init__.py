"""What the figures are made of: protocols, measures, sentences that several share.

- ``constnet``: ConstNet with everything that may break its symmetry: the study of table 1 and of figures 3, 4 and 7.
- ``correlations``: Weight correlations from two starts, and how layers move: measures of figures 3, 4 and 7.
- ``kernels``: Tangent kernels of networks at their start, and those of linear models.
- ``leakynet``: LeakyNet with more and more averaging layers: the study of table 2 and of figures 8, 9 and 10.
- ``protocol``: Data, training and quantities that the trained items of blumenfeld2020 share.
- ``signal_measures``: What the claims about signals at the start measure: how angles, norms and gradients change with
  depth.
- ``signals``: What passes through networks at their start: angles between signals, their norms, and gradients, layer
  by layer.
"""
