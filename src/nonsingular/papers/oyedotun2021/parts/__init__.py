"""What the figures are made of: protocols, measures, sentences that several share.

- ``by_depth``: What is said of networks by their depth: figures whose networks are called ``family-layers``.
- ``donors``: Networks that start from layers of others, which are trained first.
- ``drawings``: How oyedotun2021's figures are drawn from their results.
- ``protocol``: The networks of oyedotun2021, their data and training at the four scales.
- ``representations``: Condition numbers of hidden representations, and how weights change: what figures 5 to 8
  compare.
"""
