"""What the figures are made of: protocols, measures, sentences that several share.

- ``landscapes``: What is measured of networks of binary weights, enumerated, and of rescaled ones: runs, and effects
  of claims.
"""
