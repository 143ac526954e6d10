"""The papers, one entry a figure or table: spec -> results -> figure and claims."""
