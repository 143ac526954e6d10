"""Oyedotun et al. 2021: 164-layer networks with and without skip connections."""
