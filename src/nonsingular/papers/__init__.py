"""The five papers: a package each, one module a figure or table."""
