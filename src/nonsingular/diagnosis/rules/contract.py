"""Rules over outputs, loss, targets and data held against each other (``contract``)."""

from __future__ import annotations

from nonsingular.diagnosis.rules.network import which_parameters
from nonsingular.diagnosis.rules.rule import Rule, certain, share

LOSSES = "PyTorch's documentation of the loss"
CONNECTIONIST = "Graves et al. 2006, section 3 (connectionist temporal classification)"
WORDS = "Bengio et al. 2003, section 2 (one vocabulary)"
OTHER_VOCABULARY = (
    "The same ids are other words in the test data, or these are other texts altogether: what was learnt of an id does "
    "not hold there."
)

FLAT = (
    "What is zero whatever the weights are does not move with them: the loss has a part that no step makes smaller, as "
    "the residual of a differential equation in a network of straight pieces (ReLU)."
)
SECOND_DERIVATIVES = "Raissi et al. 2019, section 2; Sitzmann et al. 2020, section 3 (derivatives of ReLU networks)"


def _fact(kind: str, statistic: str, severity: float, mechanism: str, source: str, **rest: object) -> Rule:
    return Rule(kind, statistic, mechanism, source, severity=certain(severity), fact=True, **rest)  # type: ignore[arg-type]


def _part(value: float) -> float:
    """Of the samples or targets: a few already hurt."""
    return min(0.97, 0.6 + 0.4 * value)


RULES: tuple[Rule, ...] = (
    _fact(
        "invalid-targets", "swapped", 1.0,
        "The loss does not treat its two arguments alike: with outputs for targets it has another least value.",
        LOSSES,
    ),
    _fact(
        "nan-loss", "nan-loss", 1.0,
        "The loss is NaN or infinite because of one operation, whatever the weights before it: one step with it makes "
        "every weight NaN.",
        "IEEE 754: log(0), 0/0, overflow of exp",
    ),
    _fact(
        "nan-gradient", "nan-gradient", 1.0,
        "The loss is finite but its gradient is not: one step with it makes the weights NaN.",
        "the slope of a root, a logarithm or a quotient at zero",
    ),
    _fact(
        "shape-mismatch", "broadcast", 0.98,
        "Shapes differ and are broadcast: every output is compared with every target, so the best answer to all of "
        "them is the mean of the targets.",
        "PyTorch, broadcasting semantics",
        treatments=("match_shapes",),
    ),
    _fact(
        "shape-mismatch", "class-axis", 0.96,
        "The loss takes the classes along axis 1. Here that axis holds positions, so positions compete for probability "
        "and classes do not.",
        LOSSES,
    ),
    _fact(
        "shape-mismatch", "scrambled", 0.6,
        "A reshape keeps entries in their order in memory. Used to exchange axes it tears neighbours apart and mixes "
        "what belongs to different places.",
        "PyTorch, Tensor.view", sure=False,
    ),
    Rule(
        "invalid-targets", "inadmissible",
        "The loss is not defined for these targets: it fails, or has no least value to go to.",
        LOSSES, severity=_part, material=0.001,
        treatments=("another_loss",), sure=True,
    ),
    Rule(
        "invalid-targets", "blank-labels",
        "The blank says that there is no label: where it is one too, paths that leave the label out and paths that say "
        "it are the same, and the network learns to say nothing.",
        CONNECTIONIST, severity=lambda v: min(0.97, 0.85 + v / 8), material=1e-6, sure=True,
    ),
    Rule(
        "invalid-targets", "few-frames",
        "No path of so few frames has so many labels: the loss of these samples is infinite, or left out.",
        CONNECTIONIST, severity=lambda v: min(0.97, 0.6 + 0.4 * v), material=0.1, sure=True,
    ),
    _fact(
        "shape-mismatch", "samples-for-time", 0.96,
        "The loss takes the classes of one time step in all samples for one sample's: each label is looked for in "
        "other samples.",
        CONNECTIONIST,
    ),
    Rule(
        "wrong-sign", "against-targets",
        "Less of this loss means outputs further from their targets: the network learns the opposite of what it "
        "should.",
        "Goodfellow et al. 2016, section 4.3", severity=certain(0.99), material=0.5, sure=True,
    ),
    Rule(
        "wrong-sign", "backwards",
        "The loss is smaller for outputs that are wrong than for those that are right: the network learns the opposite "
        "of what it should.",
        "Goodfellow et al. 2016, section 4.3", severity=certain(0.99), material=0.05, sure=True,
    ),
    Rule(
        "wrong-sign", "exchanged-pairs",
        "The loss draws the pairs together that are unlike each other, and those that are alike apart: the embedding "
        "learns the opposite of what it should.",
        "Hadsell et al. 2006, equation 4", severity=certain(0.85), material=4.0,
    ),
    _fact(
        "wrong-sign", "endless", 0.96,
        "What is minimised has no least value: it falls for ever, and nothing is learnt of the targets.",
        "Goodfellow et al. 2016, section 4.3",
    ),
    _fact(
        "output-range", "refused-outputs", 0.97,
        "The network may return any number there, and the loss raises an error at some of them: no step is taken.",
        "PyTorch documentation, loss functions and torch.distributions (constraints)",
        treatments=("another_loss",),
    ),
    _fact(
        "invalid-targets", "refused-targets", 0.97,
        "The loss raises an error at these targets: no step is taken.",
        "PyTorch documentation, loss functions and torch.distributions (supports)",
    ),
    _fact(
        "output-range", "undefined", 0.95,
        "The network may return any number there, and the loss takes half of them only: sooner or later it is NaN, or "
        "fails.",
        "Nix and Weigend 1994 (the variance is an exponential)",
        treatments=("another_loss",),
    ),
    Rule(
        "inverted-mask", "inverted-mask",
        "The mask hides what the samples hold, and what is left to read is their padding.",
        "PyTorch documentation, torch.nn.MultiheadAttention and scaled_dot_product_attention", severity=certain(0.97),
        material=0.5, sure=True,
    ),
    Rule(
        "read-after-padding", "read-late",
        "The recurrence runs on through the padding and is read at its end: by then it has forgotten what the sample "
        "holds, the more the longer the padding is, and its gradient has to come back all that way.",
        "Hochreiter and Schmidhuber 1997 (what a recurrence forgets)", severity=lambda v: min(0.85, 0.2 + 0.65 * v),
        material=0.4,
    ),
    _fact(
        "invalid-targets", "constant-targets", 0.9,
        "All targets are the same, so that the best answer depends on no input: the network learns its last bias.",
        "definition of a supervised task",
    ),
    _fact(
        "invalid-targets", "constant-goal", 0.15,
        "All targets in these batches are the same number: as a goal (an adversary's, a residual's) that is right; as "
        "labels they tell nothing, and the network learns its last bias.",
        "definition of a supervised task; Goodfellow et al. 2014, section 3",
    ),
    Rule(
        "invalid-targets", "ignored-targets",
        "The loss has the same slope whatever the targets are: nothing can be learnt of them.",
        "definition of a supervised task", severity=certain(0.97), material=4.0, sure=True,
    ),
    Rule(
        "idle-loss", "at-floor",
        "The loss is at its floor before anything is learnt: it has no slope for any of these samples, so that no step "
        "follows from them.",
        "Schroff et al. 2015, section 3.2 (easy triplets)", severity=certain(0.93), material=0.75, fact=True,
    ),
    Rule(
        "invalid-targets", "left-out-labels",
        "The loss leaves out every sample of this class: the network never learns to say it.",
        LOSSES, severity=lambda v: min(0.95, 0.65 + 0.35 * v), material=0.001, sure=True,
    ),
    Rule(
        "lopsided-loss", "padding-counted",
        "Much of the loss is about padding, which is easily told: the tokens count for what is left.",
        LOSSES, severity=lambda v: min(0.9, 0.3 + v), material=0.25, sure=True,
    ),
    Rule(
        "lopsided-loss", "outweighed",
        "One class weighs so much more than the others that to say it always is nearly the best answer.",
        "He and Garcia 2009", severity=lambda v: min(0.95, 0.5 + v / 8), material=1.7,
    ),
    Rule(
        "lopsided-loss", "enlarged-lead",
        "Weights make the class count for even more that leads already: the rare ones are given up.",
        "He and Garcia 2009", severity=lambda v: min(0.95, 0.7 + v / 8), material=0.6,
    ),
    Rule(
        "misplaced-targets", "mirrored",
        "For a part of the samples the target fits the mirrored input, not the input: the network is shown two truths.",
        "PyTorch documentation, torchvision.transforms (joint transforms)", severity=lambda v: min(0.95, 0.7 + v / 2),
        material=0.1,
    ),
    Rule(
        "misplaced-targets", "near-contradictions",
        "Samples that are nearly the same have targets that are not: copies and targets are in another order, and the "
        "network is shown two truths.",
        "Shorten and Khoshgoftaar 2019 (augmentation that preserves the label)",
        severity=lambda v: min(0.95, 0.7 + v / 4), material=0.1,
    ),
    Rule(
        "turned-edges", "turned-edges",
        "Messages go against the edges: each node is told of those that it points to, and its target depends on those "
        "that point to it.",
        "Gilmer et al. 2017, equation 1", severity=lambda v: min(0.95, 0.7 + v / 2), material=0.1,
    ),
    _fact(
        "turned-edges", "sent-back", 0.9,
        "Messages come back to the nodes that send them: no node is told of its neighbours.",
        "Gilmer et al. 2017, equation 1",
    ),
    Rule(
        "wrong-gradient", "wrong-slope",
        "The backward pass of this function does not return its slope, so that steps lead elsewhere than downhill.",
        "PyTorch documentation, extending autograd (gradcheck)", severity=certain(0.94), material=0.005, sure=True,
    ),
    Rule(
        "unread-inputs", "unread-inputs",
        "The output does not depend on these parts of the inputs: what they tell cannot be learnt.",
        "Hochreiter and Schmidhuber 1997 (what a recurrence is for)", severity=lambda v: min(0.92, 0.3 + 0.65 * v),
        material=0.6,
    ),
    Rule(
        "gradient-cut", "cut-inputs",
        "The graph is cut on the way from the inputs: the output depends on what came before the cut, and no gradient "
        "can teach the network what to hand on.",
        "PyTorch, autograd mechanics; Werbos 1990", severity=lambda v: min(0.93, 0.4 + 0.55 * v), material=0.45,
        sure=True,
    ),
    _fact(
        "gradient-cut", "cut-term", 0.94,
        "This part of the loss is a number to autograd: it changes with the weights, and no step is taken to make it "
        "less.",
        "PyTorch documentation, torch.autograd.grad (create_graph); Raissi et al. 2019, section 2",
    ),
    _fact("flat-derivative", "flat-derivative", 0.95, FLAT, SECOND_DERIVATIVES),
    _fact("flat-derivative", "zero-output", 0.9, FLAT, SECOND_DERIVATIVES),
    _fact(
        "untrained-parameters", "flat-step", 1.0,
        "No gradient passes an operation whose slope is zero: the layers before it stay as they were drawn.",
        "Bengio et al. 2013 (straight-through estimators)",
    ),
    Rule(
        "scrambled-inputs", "torn",
        "A reshape keeps entries in their order in memory: used to exchange axes it tears neighbours apart, and a "
        "convolution or a recurrence finds nothing to hold on to.",
        "PyTorch, Tensor.view", severity=certain(0.85), material=0.8,
    ),
    Rule(
        "scrambled-inputs", "noise",
        "In images of bytes neighbours are alike; here they are not, so that pixels, or images, have been mixed before "
        "the network sees them.",
        "Simoncelli and Olshausen 2001, section 2", severity=certain(0.85), material=0.6,
    ),
    _fact(
        "order-blind", "orderless", 0.8,
        "Attention alone does not see where a token stands; in these data what is there tells nothing of the targets, "
        "only where it is.",
        "Vaswani et al. 2017, section 3.5", sure=False,
    ),
    Rule(
        "lopsided-loss", "one-sided",
        "A term that knows nothing of the targets outweighs those that do: the network learns to make it small, and "
        "nothing else.",
        "Kendall et al. 2018; Bowman et al. 2016 (posterior collapse)", severity=lambda v: min(0.93, 0.5 + v / 5),
        material=2.0,
    ),
    Rule(
        "lopsided-loss", "unlike-reductions",
        "A sum grows with the numbers of a batch and a mean does not: beside the one the other term has no say.",
        "Kingma and Welling 2014, equation 8 (both terms are sums over a sample's numbers)",
        severity=lambda v: min(0.92, 0.6 + v / 8), material=1.25, sure=True,
    ),
    Rule(
        "lopsided-loss", "dear-code",
        "The divergence outweighs the reconstruction: whatever the code tells costs more than can be gained by it, so "
        "that the least loss is that of a code that tells next to nothing (the posterior collapses).",
        "Kingma and Welling 2014, equation 8; Bowman et al. 2016 (posterior collapse)",
        severity=lambda v: min(0.93, 0.8 + v / 20), material=0.6, sure=True,
    ),
    Rule(
        "wrong-sign", "near-and-far",
        "The loss draws together what differs and drives apart what is alike.",
        "Schroff et al. 2015, section 3.1", severity=certain(0.7), material=3.0,
    ),
    Rule(
        "unregistered-parameters", "unregistered",
        "These weights take part in the output, but model.parameters() does not have them: an optimiser never moves "
        "them, .to() leaves them where they are and checkpoints lack them.",
        "PyTorch, nn.Module", severity=lambda v: min(0.96, 0.75 + v / 4), material=1e-6, sure=True,
    ),
    _fact(
        "untrained-parameters", "cut", 1.0,
        "No gradient comes back from the loss: an operation on the way has none, so that nothing can be learnt.",
        "PyTorch, autograd mechanics",
    ),
    _fact(
        "untrained-parameters", "unreached", 0.9,
        "These layers run, and no gradient of the loss comes back to them: they stay as they were drawn.",
        "PyTorch, autograd mechanics", remark=which_parameters,
        remedy="See that the loss has a term for each output, that terms are added up, and that nothing is cut off on "
        "the way: detach(), .data, no_grad(), numpy or a new tensor.",
    ),
    Rule(
        "untrained-parameters", "left-alone",
        "No step can change frozen parameters: they stay as they were drawn.",
        "PyTorch documentation, torch.Tensor.requires_grad_",
        treatments=("unfreeze",), severity=share,
        material=0.01, remark=which_parameters, sure=True,
        remedy="Call requires_grad_(True) on what should train; look at the names that are compared where layers are "
        "frozen by name.",
    ),
    Rule(
        "untrained-parameters", "set-aside",
        "Frozen parameters stay as they are: right below a new readout where they were trained before.",
        "PyTorch documentation, torch.Tensor.requires_grad_; Yosinski et al. 2014",
        treatments=("unfreeze",), severity=lambda v: 0.15 * v,
        material=0.01, remark=which_parameters, sure=True,
        remedy="If they were not trained before, call requires_grad_(True) on what should train.",
    ),
    Rule(
        "untrained-parameters", "unused",
        "The loss does not depend on these parameters: no gradient reaches them, and they stay as they were drawn.",
        "PyTorch, autograd mechanics", severity=share, material=0.01, remark=which_parameters, sure=True,
        remedy="Use what these layers return, and hand it on with its graph: detach(), .data, no_grad(), numpy or a "
        "new tensor behind them cuts it.",
    ),
    Rule(
        "samples-mixed", "mixed",
        "A sample's output depends on the other samples of its batch, in evaluation mode: what is learnt holds for "
        "no sample alone, and answers change with the batch.",
        "definition of a per-sample model", severity=certain(0.95), material=1e-3, sure=True,
    ),
    _fact(
        "probabilities-as-logits", "twice-normalised", 0.94,
        "The loss makes probabilities of what it gets. Of numbers that are probabilities already it makes nearly equal "
        "ones: the loss has a high floor and gradients are small.",
        LOSSES,
        treatments=("remove_last_activation", "another_loss"),
    ),
    _fact(
        "output-range", "clipped-logits", 0.93,
        "The operation cuts off part of what logits may be: where it does no gradient passes, and some answers cannot "
        "be given.",
        "Goodfellow et al. 2016, section 6.2.2",
        treatments=("remove_last_activation",),
    ),
    _fact(
        "output-range", "positive-logarithms", 0.92,
        "The loss takes the exponential itself. Of numbers that are positive already no rate below one can be said, "
        "and large ones overflow.",
        LOSSES,
        treatments=("remove_last_activation",),
    ),
    _fact(
        "output-range", "unnormalised", 0.92,
        "The loss takes log-probabilities and does not normalise. Of other numbers it has no least value: it falls for "
        "ever by growing them.",
        LOSSES,
        treatments=("another_loss",),
    ),
    Rule(
        "output-range", "shared-sum",
        "A softmax shares one probability out. Targets with several ones or none cannot be reached.",
        LOSSES, severity=_part, material=0.02,
    ),
    Rule(
        "output-range", "out-of-reach",
        "The last operation bounds the outputs, and targets lie beyond the bound: the loss stays high, and outputs "
        "that are driven there sit where the slope is zero.",
        "Goodfellow et al. 2016, section 6.2.2", severity=_part, material=0.02,
        treatments=("remove_last_activation", "scale_targets", "another_loss"),
    ),
    _fact(
        "unsuited-loss", "unsuited", 0.8,
        "Where the softmax is sure of a class, right or wrong, this loss has no slope: what is wrong stays wrong. "
        "Cross-entropy of a classification has one of its own size there.",
        "Ghosh et al. 2017; Goodfellow et al. 2016, section 6.2.2",
        treatments=("another_loss",),
    ),
    Rule(
        "dead-readout", "dead-outputs",
        "An output unit that is at the bound of its activation for every sample gets no gradient: what it stands for "
        "is never learnt.",
        "orhan2018, section 2.7 (zero responses)", severity=lambda v: min(0.9, 0.4 + v / 2), material=0.05,
        treatments=("remove_last_activation", "reinitialise"),
    ),
    _fact(
        "wrong-mode", "random-evaluation", 0.5,
        "A call with its default of training=True goes on dropping units after model.eval(): evaluation is noisy and "
        "worse than the network is.",
        "PyTorch, torch.nn.functional.dropout", sure=False,
    ),
    Rule(
        "degenerate-normalisation", "lonely",
        "Normalised over one value, nothing is left: the same comes out for every sample, and no gradient passes.",
        "Ba et al. 2016, equation 4; Bahdanau et al. 2015, equation 6 (weights that sum to 1)",
        severity=lambda v: 0.97 if v == 1 else 0.15, fact=True,
    ),
    _fact(
        "degenerate-normalisation", "batch-alone", 0.7,
        "Batch normalisation takes mean and deviation of the batch. Where a batch is one sample or one class they say "
        "what distinguishes it, take that out, and do not fit the running statistics that are used afterwards.",
        "Ioffe and Szegedy 2015, section 3.1", sure=False,
    ),
    Rule(
        "degenerate-normalisation", "statistics-stay",
        "In evaluation mode the network is another than the one that was trained: its running statistics are not those "
        "of the data.",
        "Ioffe and Szegedy 2015, section 3.1", severity=lambda v: 0.35 + v / 2, material=0.1, sure=True,
    ),
    Rule(
        "affine-network", "affine",
        "The layers together are one affine map of the inputs: with no activation between them, or with none that "
        "ever switches, several layers can do no more than one.",
        "Goodfellow et al. 2016, section 6.1; saxe2014", severity=certain(0.65), material=4.0,
        remedy="Put an activation (nn.ReLU, nn.GELU) between the layers.",
    ),
    Rule(
        "target-scale", "large-targets",
        "Targets are far larger than anything the network returns at its start: the loss and its gradient are huge, so "
        "that ordinary steps overshoot, and small ones take very long to reach the targets' mean.",
        "LeCun et al. 1998, section 4.3", severity=lambda v: min(0.97, v / 3.5), material=1.7,
        treatments=("scale_targets", "scale_both"),
    ),
    Rule(
        "target-scale", "small-targets",
        "Targets differ by far less than the outputs at the start do: the network first unlearns what it starts with, "
        "and then a loss near zero hides that nothing is explained.",
        "LeCun et al. 1998, section 4.3", severity=lambda v: min(0.9, v / 3), material=1.5,
        treatments=("scale_targets", "scale_both"),
    ),
    Rule(
        "narrow-dropout", "dropped",
        "Dropout on so few units often takes all of them away: then the sample's answer says nothing of the sample.",
        "Srivastava et al. 2014, section 7", severity=lambda v: min(0.8, 0.4 + v), material=0.01,
    ),
    Rule(
        "narrow-dropout", "heavy-dropout",
        "So little is left of each sample that what is learnt at one step is hardly used at the next.",
        "Srivastava et al. 2014, section 7.3", severity=lambda v: min(0.8, 4 * v - 3), material=0.85,
    ),
    Rule(
        "bad-data", "seen-answers",
        "The output for a position sees the very entry that it is to tell: it learns to copy, and nothing else.",
        "Vaswani et al. 2017, section 3.2.3 (masking); van den Oord et al. 2016, section 2.1 (causal convolutions)",
        severity=certain(0.85), fact=True,
    ),
    _fact(
        "bad-data", "copied-answers", 0.75,
        "The answer is given with the question: the network learns to hand on one number, and is of no use where that "
        "is not known.",
        "Kaufman et al. 2012 (leakage)",
    ),
    Rule(
        "wrong-noise", "noised",
        "What the network is to take the noise from has another variance at each strength than what it is meant for.",
        "Ho et al. 2020, equation 4", severity=certain(0.9), material=0.02, sure=True,
    ),
    _fact(
        "wrong-noise", "foreign-noise", 0.93,
        "The noise to be told is not the noise that was mixed in: the inputs say nothing of it, and the best answer is "
        "its mean, zero.",
        "Ho et al. 2020, algorithm 1", sure=False,
    ),
    _fact(
        "wrong-noise", "reparameterised", 0.9,
        "The code is drawn from another distribution than the one whose divergence the loss takes.",
        "Kingma and Welling 2014, section 2.4",
    ),
    _fact(
        "bad-data", "constant-inputs", 0.97,
        "All inputs are the same: there is nothing to tell samples apart by.",
        "definition of a supervised task",
    ),
    Rule(
        "bad-data", "contradictions",
        "The same input comes with different targets: no function fits both.",
        "definition of a supervised task", severity=lambda v: min(0.95, 0.5 + v), material=0.1,
    ),
    Rule(
        "bad-data", "duplicates",
        "Many samples repeat others: the data say less than their number, and a split at random puts the same samples "
        "on both sides.",
        "Barz and Denzler 2020", severity=lambda v: 0.7 * v, material=0.5,
    ),
    Rule(
        "bad-data", "uneven-features",
        "One feature is so large that the first layer sees hardly anything else, and a step that suits it leaves the "
        "others' weights as they are.",
        "LeCun et al. 1998, section 4.3", severity=lambda v: min(0.95, 0.4 + v / 8), material=2.0,
        treatments=("rescale_input",),
    ),
    Rule(
        "saturated-output", "raw-bytes",
        "Inputs of hundreds make outputs, gradients and steps as many times larger as they should be.",
        "LeCun et al. 1998, section 4.3", severity=lambda v: min(0.9, 0.5 + v / 4), material=0.5, sure=True,
        treatments=("rescale_input",),
    ),
    Rule(
        "bad-data", "imbalance",
        "Nearly all samples are of one class: saying so always is nearly right, and the others hardly move the loss.",
        "He and Garcia 2009", severity=lambda v: min(0.7, v / 4), material=1.25,
    ),
    Rule(
        "bad-data", "ordered",
        "Batches hold few of the classes: every step unlearns those of the steps before.",
        "Bengio 2012, section 3.1 (shuffling)", severity=lambda v: 0.8 * v, material=0.5,
    ),
    Rule(
        "unlike-tests", "held-out-scale",
        "What is measured is how the network answers inputs of a size that it was never shown.",
        "LeCun et al. 1998, section 4.3", severity=lambda v: min(0.9, 0.5 + v / 2), material=0.3,
    ),
    Rule(
        "unlike-tests", "held-out-ids",
        OTHER_VOCABULARY, WORDS, severity=lambda v: min(0.9, 0.5 + v), material=0.2,
    ),
    Rule(
        "unlike-tests", "held-out-meaning",
        "What inputs say of the targets in training they do not say in the held-out data: ids, columns or classes "
        "stand for other things there, or these are other data altogether (of another time or place).",
        "Kaufman et al. 2012", severity=lambda v: min(0.85, 0.2 + 0.6 * v), material=0.6,
    ),
    Rule(
        "bad-data", "leakage",
        "Samples of the evaluation are also trained on: its score says how well they are remembered.",
        "Kaufman et al. 2012", severity=lambda v: min(0.9, 0.3 + v), material=0.02,
    ),
)  # fmt: skip

SYMPTOMS = (
    "vanishing-signal", "vanishing-gradient", "exploding-signal", "exploding-gradient", "dead-units",
    "saturated-units", "saturated-output", "singular-representation", "untrained-parameters", "degenerate-curvature",
)  # fmt: skip
"""What a mistake in the contract may bring about in the network."""

BEHIND = (
    "invalid-targets", "wrong-sign", "output-range", "lopsided-loss", "misplaced-targets", "probabilities-as-logits",
    "unsuited-loss", "target-scale", "wrong-noise", "idle-loss",
)  # fmt: skip
"""Kinds that lie behind the network, in outputs, loss and targets."""
OF_THE_LOSS = ("saturated-output", "untrained-parameters", "degenerate-curvature")
"""What they change of a network before any step: not what its layers pass on, nor the ratio of their gradients."""

STEPS = ("step-too-large", "step-too-small", "decay-dominates", "clipped-away")
"""What is inferred from steps of a network that cannot learn, whatever they are."""

EXPLAINS: dict[str, tuple[str, ...]] = {
    **dict.fromkeys(("nan-gradient", "idle-loss", "flat-derivative"), SYMPTOMS),
    "shape-mismatch": (*SYMPTOMS, *STEPS),
    **dict.fromkeys(("scrambled-inputs", "turned-edges"), STEPS),
    # model.eval() does not reach modules that are not registered.
    "unregistered-parameters": (*SYMPTOMS, "samples-mixed", "wrong-mode"),
    "nan-loss": (*SYMPTOMS, "nan-gradient"),
    "probabilities-as-logits": (*SYMPTOMS, "output-range", "dead-readout", "target-scale"),
    "output-range": (*SYMPTOMS, "dead-readout", "target-scale", "nan-loss", "nan-gradient"),
    "dead-readout": SYMPTOMS,
    "degenerate-normalisation": (
        *SYMPTOMS,
        "affine-network",
        "dead-readout",
        "bad-data",
        "nan-loss",
        "nan-gradient",
        "unread-inputs",
    ),
    "samples-mixed": (*SYMPTOMS, "shape-mismatch", "unread-inputs"),
    "unread-inputs": SYMPTOMS,
    "invalid-targets": (*SYMPTOMS, "target-scale", "output-range", "bad-data", "nan-loss"),
    "target-scale": (*SYMPTOMS, "output-range", "affine-network"),
    "bad-data": SYMPTOMS,
    "wrong-sign": (*SYMPTOMS, "output-range"),
    "read-after-padding": SYMPTOMS,
    "inverted-mask": (*SYMPTOMS, "nan-loss", "nan-gradient", "unread-inputs"),
    "vanishing-signal": ("affine-network", "dead-readout"),
    "dead-units": ("affine-network", "dead-readout"),
    "identical-features": ("affine-network", "dead-readout"),
    "untrained-parameters": ("degenerate-curvature",),
}
