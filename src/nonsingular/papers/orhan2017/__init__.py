"""Orhan and Pitkow 2017 (the abstract of version 3): an earlier version of the paper of 2018."""
