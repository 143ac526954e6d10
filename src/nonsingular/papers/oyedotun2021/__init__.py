"""Oyedotun et al. 2021: 164-layer networks with and without skip connections.

Layers are layers with weights, readout included; a run is one seed. A file declares a figure or table, or several that
are made alike. ``parts`` has what they are made of.

- ``depth``: Table 4 and the depth sweep: how accuracy changes with depth, without skips and with skips of four kinds.
- ``figures``: Figures 5 to 8: activations and weights through the depth of PlainNet and ResNet, and their condition
  numbers.
- ``remedies``: What initialisation and batch normalisation do for PlainNets, and whether there is a depth at which
  neither helps.
- ``tables``: Tables 1 to 3: training and test accuracy of PlainNet, ResNet and ResNeXt of one depth.
- ``warm_start``: VGG-13 and VGG-16 from scratch, and started from a trained VGG-11.
"""
