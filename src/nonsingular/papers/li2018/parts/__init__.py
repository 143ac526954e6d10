"""What the figures are made of: protocols, measures, sentences that several share.

- ``block_gradients``: Gradients at the blocks of residual networks, and what each of their two ways brings.
- ``comparisons``: What li2018's claims compare: quantities of trained networks and of the surfaces around them.
- ``curvature``: What figure 7 measures: a surface, and the Hessian's extreme eigenvalues at every second of its
  points.
- ``drawings``: How li2018's figures are drawn from their results.
- ``lines``: What figure 2 measures: the loss on the lines between trained networks, and how sharp their ends are.
- ``paths``: What figure 9 measures: paths of training, the loss over their planes, and how steeply they cross its
  isocurves.
- ``protocol``: li2018's data and training at the four scales (section 5).
- ``surfaces``: What figures 1, 5, 6 and 7 share: pairs of networks with and without skips, trained, and the surfaces
  around them.
- ``vgg9``: What figures 2 and 9 share: VGG-9 with a small and a large batch, without and with weight decay.
"""
