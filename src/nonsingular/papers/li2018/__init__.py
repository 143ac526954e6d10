"""Li et al. 2018: Visualizing the Loss Landscape of Neural Nets.

Layers are layers with weights, readout included; a run is one seed. A file declares a figure or table, or several that
are made alike. ``parts`` has what they are made of.

- ``fig1``: Figure 1: the loss surface of a deep ResNet with and without skip connections, in three dimensions.
- ``fig2``: Figure 2: the loss on the line between a solution of small batches and one of large batches.
- ``fig5``: Figure 5: filter-normalised surfaces of ResNets of growing depth, with and without skip connections.
- ``fig6``: Figure 6: whether width smooths the surface, with and without skip connections.
- ``fig7``: Figure 7: where the loss is convex in all of weight space, not only in the plane that is drawn.
- ``fig9``: Figure 9: paths of SGD over the plane of their first two principal components, with and without weight
  decay.
- ``gradient``: The backward identity of a residual block, verified layer by layer.
- ``trainability``: What lets a 30-layer network train: architecture, optimiser, start, hyperparameters, one change at
  a time.
"""
