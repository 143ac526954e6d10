"""The papers by prefix: how they are cited, and what all reproductions of one do otherwise."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Paper:
    """A paper.

    Attributes:
        title: its title.
        cited: authors, venue and year.
        differs: what its experiments here do otherwise than the paper, or choose where the paper is silent, each in a
            sentence; what one experiment alone does otherwise is its own ``differs``.
    """

    title: str
    cited: str
    differs: tuple[str, ...] = ()


PAPERS: dict[str, Paper] = {
    "orhan2017": Paper(
        "Skip Connections as Effective Symmetry-Breaking",
        "Orhan and Pitkow, 2017, an earlier version of the paper of 2018",
        ("Only the abstract is at hand: models, sizes and measures are ours.",),
    ),
    "orhan2018": Paper(
        "Skip Connections Eliminate Singularities",
        "Orhan and Pitkow, ICLR 2018",
        (
            "The paper does not say how it scaled its images, and the scaling decides whether plain or residual "
            "networks train faster. Here images have unit mean squared norm unless another scaling is named.",
            "Intervals are 95 % bootstrap intervals over runs; the paper draws standard errors.",
        ),
    ),
    "oyedotun2021": Paper(
        "Why is Everyone Training Very Deep Neural Network with Skip Connections?",
        "Oyedotun et al., IEEE Transactions on Neural Networks and Learning Systems, 2021",
    ),
    "li2018": Paper(
        "Visualizing the Loss Landscape of Neural Nets",
        "Li et al., NeurIPS 2018",
        (
            "The text at hand is a lecture's slides on the paper; what they leave out of the training protocol is "
            "taken from the published paper.",
        ),
    ),
    "blumenfeld2020": Paper(
        "Beyond Signal Propagation: Is Feature Diversity Necessary in Deep Neural Network Initialization?",
        "Blumenfeld, Gilboa and Soudry, ICML 2020",
    ),
}


def paper(prefix: str) -> Paper:
    """The paper with this prefix; experiments of no paper (the demonstration, a user's own) get a name and no more."""
    return PAPERS.get(prefix) or Paper(prefix, "")
