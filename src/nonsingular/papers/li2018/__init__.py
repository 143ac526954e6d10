"""Li et al. 2018, Visualizing the loss landscape of neural nets: one file a figure."""
