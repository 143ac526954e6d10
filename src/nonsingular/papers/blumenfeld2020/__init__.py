"""Blumenfeld, Gilboa, Soudry 2020: networks that start with identical features."""
