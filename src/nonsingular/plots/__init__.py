"""Matplotlib figures for papers and plotly figures for reports."""
