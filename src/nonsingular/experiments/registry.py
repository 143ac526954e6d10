"""Every experiment of the five papers, in their order: those that work and those that are planned."""

from __future__ import annotations

import difflib
import importlib
from collections.abc import Iterator
from functools import cache

from nonsingular.errors import InputError
from nonsingular.experiments.experiment import Experiment

MODULES = (
    "demo",
    "orhan2017",
    "orhan2018.fig1",
    "orhan2018.fig_s1",
    "orhan2018.fig_s2",
    "orhan2018.fig_s3",
    "orhan2018.fig3",
    "orhan2018.fig4",
    "orhan2018.fig5",
    "orhan2018.fig6",
    "orhan2018.fig7",
    "orhan2018.fig8",
    "orhan2018.depth",
    "orhan2018.input_scale",
    "orhan2018.fig_s6",
    "orhan2018.fig_s7",
    "orhan2018.fig2",
    "orhan2018.fig_s4",
    "orhan2018.fig_s5",
    "blumenfeld2020.fig1",
    "blumenfeld2020.constnet",
    "blumenfeld2020.leakynet",
    "blumenfeld2020.table3",
    "blumenfeld2020.signal",
    "blumenfeld2020.perturbation",
    "blumenfeld2020.ntk",
    "blumenfeld2020.subnetworks",
    "oyedotun2021.tables",
    "oyedotun2021.figures",
    "oyedotun2021.depth",
    "oyedotun2021.warm_start",
    "li2018.gradient",
    "li2018.trainability",
    "li2018.fig1",
    "li2018.fig5",
    "li2018.fig6",
    "li2018.fig9",
)
"""Modules with a tuple EXPERIMENTS, in the package ``nonsingular.experiments``."""

TITLES: dict[str, str] = {
    "orhan2017/binary": "Binary weights enumerated: ties, local minima and search success, plain against skip",
    "orhan2018/fig1": "Exact singularities and the null space of the Hessian, plain against skip",
    "orhan2018/fig2": "Two hidden units, and linear dependence: flow fields, plateaus",
    "orhan2018/fig3": "20-layer plain, residual and hyper-residual networks: accuracy and singularities over training",
    "orhan2018/fig4": "Best and worst of equal plain 30-layer networks: norms, overlap, linear dependence",
    "orhan2018/fig5": "Bias regularisation and the malicious start on 30 layers",
    "orhan2018/fig6": "Gradient norms by layer in the first epochs; bias regularisation with one batch normalisation",
    "orhan2018/fig7": "Skip matrices of fewer and fewer orthonormal vectors",
    "orhan2018/fig8": "Spectrum-equalised skip matrices of decreasing orthogonality",
    "orhan2018/depth": "Where trainability ends: plain and residual networks of 2 to 50 layers",
    "orhan2018/input-scale": "What the scale of the inputs decides: growth, first logits, gradients against epsilon",
    "orhan2018/figS1": "Exact Hessian spectra of 10-layer, 16-wide networks, plain against residual",
    "orhan2018/figS2": "Best and worst of 400 small plain networks, exact spectra",
    "orhan2018/figS3": "Moment and Lanczos estimates of the fractions against exact counts",
    "orhan2018/figS4": "Linear three-layer networks with two modes, plain against residual",
    "orhan2018/figS5": "Phase portraits and mode strength of deep linear networks",
    "orhan2018/figS6": "Shallow networks of two hidden layers",
    "orhan2018/figS7": "Figure 4 on SVHN and STL-10",
    "oyedotun2021/table1": "164-layer PlainNet, ResNet and ResNeXt on MNIST",
    "oyedotun2021/table2": "164-layer PlainNet, ResNet and ResNeXt on CIFAR-10",
    "oyedotun2021/table3": "164-layer PlainNet, ResNet and ResNeXt on CIFAR-100",
    "oyedotun2021/table4": "PlainNet and ResNet from 8 to 110 layers and more",
    "oyedotun2021/depth-sweep": "Depth with summed, concatenated, gated, fractal and no skips",
    "oyedotun2021/fig5": "PlainNet's activations through its depth, and condition numbers",
    "oyedotun2021/fig6": "PlainNet's weights through its depth",
    "oyedotun2021/fig7": "ResNet's activations through its depth, and condition numbers",
    "oyedotun2021/fig8": "ResNet's weights through its depth",
    "oyedotun2021/vgg-warm-start": "VGG-13 and VGG-16 started from a trained VGG-11",
    "li2018/fig1": "3D loss surface of ResNet-56 with and without skips",
    "li2018/fig5": "Filter-normalised surfaces of ResNet-20, -56, -110",
    "li2018/fig6": "Width smooths the surface: Wide-ResNet-56",
    "li2018/fig9": "Optimiser paths on the first two PCA directions",
    "li2018/gradient": "The backward identity of a residual block, layer by layer",
    "li2018/trainability": "What lets a 30-layer network train: one change at a time",
    "blumenfeld2020/fig1": "Replicated features on MNIST, with and without noise",
    "blumenfeld2020/table1": "ConstNet and what breaks its symmetry",
    "blumenfeld2020/table2": "LeakyNet with more and more identical-feature layers",
    "blumenfeld2020/table3": "ConstNet in 16 bit",
    "blumenfeld2020/fig3": "Forward weight correlations over training",
    "blumenfeld2020/fig4": "Backward weight correlations over training",
    "blumenfeld2020/fig7": "Weight correlations from both starts",
    "blumenfeld2020/fig8": "LeakyNet: correlations over training",
    "blumenfeld2020/fig9": "Symmetry-breaking perturbation of features by layer",
    "blumenfeld2020/fig10": "Symmetry-breaking perturbation of gradients by layer",
    "blumenfeld2020/signal": "Forward angles and gradient norms against depth",
    "blumenfeld2020/perturbation": "Size of the symmetry-breaking part by layer",
    "blumenfeld2020/ntk": "ConstNet's tangent kernel is a linear model's",
    "blumenfeld2020/subnetworks": "Distinct sub-networks under each symmetry",
}


@cache
def _working() -> dict[str, Experiment]:
    modules = (importlib.import_module(f"nonsingular.experiments.{name}") for name in MODULES)
    return {e.id: e for module in modules for e in module.EXPERIMENTS}


def experiments() -> Iterator[Experiment]:
    """All experiments of the papers; those without an implementation have the status ``planned``."""
    working = _working()
    for id, title in TITLES.items():
        yield working.get(id) or Experiment(id, title)


def experiment(id: str) -> Experiment:
    """The experiment with this id.

    Raises:
        InputError: unknown id (the message offers the nearest one), or one that is only planned.
    """
    found = _working().get(id)
    if found is not None:
        return found
    if id in TITLES:
        raise InputError(f"{id} is planned but does not work yet (nonsingular reproduce --list shows what does)")
    near = difflib.get_close_matches(id, TITLES, n=1, cutoff=0.3)
    hint = f"; did you mean {near[0]}?" if near else ""
    raise InputError(f"unknown experiment {id!r}{hint} (nonsingular reproduce --list shows all)")
