"""Orhan and Pitkow: Skip Connections Eliminate Singularities (ICLR 2018)."""
