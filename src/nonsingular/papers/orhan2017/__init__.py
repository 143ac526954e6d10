"""Orhan and Pitkow 2017 (the abstract of version 3): an earlier version of the paper of 2018.

A file declares a figure or table, or several that are made alike. ``parts`` has what they are made of.

- ``binary``: Symmetries, enumerated on binary weights, and rescaling: what a skip that breaks the symmetry does for
  search.
"""
