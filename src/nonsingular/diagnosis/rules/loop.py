"""Rules over what a rehearsal of the training loop shows: optimiser, step, gradients, modes."""

from __future__ import annotations

from nonsingular.diagnosis.rules.contract import FLAT, OTHER_VOCABULARY, SECOND_DERIVATIVES, WORDS
from nonsingular.diagnosis.rules.rule import Rule, certain

LOOP = "PyTorch documentation, torch.optim (taking an optimisation step)"
AMP = "PyTorch documentation, automatic mixed precision examples"
MODES = "PyTorch documentation, torch.nn.Module.train and eval"
STEPS = "LeCun et al. 1998, section 4.7; Smith 2018"

RULES: tuple[Rule, ...] = (
    Rule(
        "optimiser-misses", "loop-missed",
        "No step ever changes these parameters, although the loss depends on them: they stay as they were drawn.",
        LOOP, severity=certain(0.97), fact=True,
    ),
    Rule(
        "optimiser-misses", "loop-foreign",
        "The optimiser changes weights that the loss does not depend on; the model that runs stays as it was drawn.",
        LOOP, severity=certain(0.99), fact=True,
    ),
    Rule(
        "step-too-small", "loop-no-step",
        "Gradients are computed and no step is taken: the weights stay as they were drawn.",
        LOOP, severity=certain(0.98), fact=True,
    ),
    Rule(
        "step-too-small", "loop-no-backward",
        "Losses are computed and nothing is done with them: the weights stay as they were drawn.",
        LOOP, severity=certain(0.98), fact=True,
    ),
    Rule(
        "step-too-small", "loop-no-gradient",
        "Every step finds gradients of zero, so that it changes nothing (or only decays the weights).",
        LOOP, severity=certain(0.98), fact=True,
    ),
    Rule(
        "untrained-parameters", "loop-cut",
        "The loss has no connection to the model: its backward pass reaches none of the weights.",
        "PyTorch documentation, autograd mechanics", severity=certain(0.99), fact=True,
    ),
    Rule(
        "untrained-parameters", "loop-behind-cut",
        "The gradient stops before it reaches the first layers: they stay as they were drawn.",
        "PyTorch documentation, autograd mechanics", severity=certain(0.9), fact=True,
    ),
    Rule(
        "untrained-parameters", "loop-unreached",
        "These parts of the model run, and no loss is made of what they return: they stay as they were drawn.",
        "PyTorch documentation, autograd mechanics", severity=certain(0.9), fact=True,
    ),
    Rule(
        "optimiser-reset", "loop-renewed",
        "An optimiser that is made anew has no moments and no momentum: Adam then takes a step of one learning rate by "
        "the sign of each gradient, and momentum never builds up.",
        "Kingma and Ba 2015, algorithm 1", severity=certain(0.9), material=0.5, sure=True,
    ),
    Rule(
        "steps-undone", "loop-undone",
        "What a step changes is taken back before the next one: however long the training, the weights stay where they "
        "are.",
        LOOP, severity=lambda v: min(0.96, 0.5 + v / 2), material=0.4,
    ),
    Rule(
        "steps-undone", "loop-returned",
        "All that is learnt between is thrown away each time: training never goes further than one such stretch.",
        LOOP, severity=certain(0.95), material=1.5, sure=True,
    ),
    Rule(
        "steps-undone", "loop-remade",
        "Each model begins anew, so that none trains for longer than one such stretch.",
        LOOP, severity=certain(0.95), material=2.5, sure=True,
    ),
    Rule(
        "gradients-accumulate", "loop-stale",
        "Each step follows the sum of all gradients so far, not the latest alone: the sum grows from step to step, "
        "and its older parts were computed at weights that are no longer there.",
        LOOP, severity=lambda v: min(0.96, 0.6 + 0.4 * v), material=0.05, sure=True,
    ),
    Rule(
        "gradients-accumulate", "loop-behind",
        "Each step uses the gradient of an earlier batch, taken at other weights.",
        LOOP, severity=certain(0.6), material=0.5,
    ),
    Rule(
        "step-too-large", "loop-large-step",
        "A step changes the weights by so large a part of themselves that what it was computed for no longer holds: "
        "the loss jumps instead of falling.",
        STEPS, severity=lambda v: min(0.9, 0.6 + v / 4), material=0.02,
    ),
    Rule(
        "step-too-large", "loop-unstable",
        "Along the direction of largest curvature each step overshoots by more than it corrects.",
        STEPS, severity=certain(0.85), material=1.0,
    ),
    Rule(
        "step-too-small", "loop-small-step",
        "At this size of the steps the weights stay as they were drawn for as long as anybody trains.",
        STEPS, severity=certain(0.85), material=4.3,
    ),
    Rule(
        "step-too-small", "loop-no-rate",
        "At a learning rate of nearly zero steps change nothing.",
        LOOP, severity=certain(0.9), material=0.5, sure=True,
    ),
    Rule(
        "step-too-small", "loop-per-batch",
        "The learning rate is gone before the first epoch is over.",
        "PyTorch documentation, torch.optim (how to adjust learning rate)", severity=certain(0.85), material=1.9,
        sure=True,
    ),
    Rule(
        "step-too-small", "loop-rescheduled",
        "A schedule that begins again before it has reached its rate keeps the steps as small as its first ones.",
        "PyTorch documentation, torch.optim (how to adjust learning rate)", severity=certain(0.9), material=1.0,
        sure=True,
    ),
    Rule(
        "step-too-small", "loop-scaled-away",
        "What the schedule multiplies the learning rate by never comes near 1, so that steps stay far smaller than the "
        "optimiser's rate says.",
        "PyTorch documentation, LambdaLR", severity=certain(0.92), material=0.3, sure=True,
    ),
    Rule(
        "unlikely-settings", "loop-settings",
        "The optimiser does other than what is meant: steps without momentum or with one that never fades, averages "
        "over no time, a rate of nearly zero.",
        "PyTorch documentation, torch.optim", severity=certain(0.88), fact=True,
    ),
    Rule(
        "step-too-small", "loop-warming",
        "The learning rate is still on its way up when training ends.",
        "PyTorch documentation, torch.optim (how to adjust learning rate)", severity=certain(0.9), material=1.0,
        sure=True,
    ),
    Rule(
        "step-too-small", "loop-restarted",
        "The warm-up begins again and again: for that part of the training steps are smaller than they are meant to "
        "be.",
        "Goyal et al. 2017, section 2.2 (one warm-up, at the start)", severity=lambda v: min(0.9, 0.3 + 0.7 * v),
        material=0.1, sure=True,
    ),
    Rule(
        "step-too-small", "loop-plateau",
        "The scheduler takes better for worse, and divides the learning rate while the loss still falls.",
        "PyTorch documentation, ReduceLROnPlateau", severity=certain(0.93), material=0.5, sure=True,
    ),
    Rule(
        "few-steps", "loop-wasted",
        "What most batches say is thrown away: their gradients are cleared before a step follows them.",
        LOOP, severity=lambda v: min(0.96, 0.6 + 0.4 * v), material=0.4, sure=True,
    ),
    Rule(
        "few-steps", "loop-few-steps",
        "There is one step for a whole pass through the data, so that training takes as many times longer as a pass "
        "has batches.",
        LOOP, severity=certain(0.92), material=3.5, sure=True,
    ),
    Rule(
        "bad-data", "loop-no-batches",
        "There is nothing to train on.",
        "PyTorch documentation, torch.utils.data", severity=certain(0.98), fact=True,
    ),
    Rule(
        "idle-clipping", "loop-idle-clip",
        "Clipping comes when there is no new gradient: those that steps follow are never clipped.",
        "PyTorch documentation, clip_grad_norm_", severity=certain(0.92), material=0.9, sure=True,
    ),
    Rule(
        "idle-clipping", "loop-part-clipped",
        "Where gradients are large, a part of the parameters takes a step that is cut and the others one that is not: "
        "what belongs together, as copies of a layer, drifts apart.",
        "PyTorch documentation, clip_grad_norm_", severity=certain(0.8), material=0.01, sure=True,
    ),
    Rule(
        "state-not-copied", "loop-own-state",
        "What is loaded back are the latest weights themselves: the best ones were never kept.",
        "PyTorch documentation, saving and loading models", severity=certain(0.9), material=0.5, sure=True,
    ),
    Rule(
        "gradient-cut", "loop-cut-feed",
        "The model that is stepped gets no gradient from the one that judges it: the graph between them is cut.",
        "PyTorch, autograd mechanics; Goodfellow et al. 2014", severity=certain(0.93), material=0.5, sure=True,
    ),
    Rule(
        "gradient-cut", "loop-cut-state",
        "The state is cut from its own past: what comes early in a sequence is never learnt to be kept.",
        "Werbos 1990 (backpropagation through time)", severity=certain(0.92), material=0.5, sure=True,
    ),
    Rule(
        "gradient-cut", "loop-cut-terms",
        "A term of the loss is a number without a graph: it makes the loss larger, and no step makes it smaller.",
        "PyTorch documentation, autograd mechanics", severity=certain(0.93), material=0.3, sure=True,
    ),
    Rule(
        "flat-derivative", "loop-flat-derivative", FLAT, SECOND_DERIVATIVES, severity=certain(0.95), material=0.2,
        sure=True,
    ),
    Rule(
        "replicas-apart", "loop-replicas",
        "Gradients are averaged over copies of a model that are not copies: each follows the gradient of another.",
        "PyTorch documentation, DistributedDataParallel", severity=certain(0.96), material=0.5, sure=True,
    ),
    Rule(
        "wrong-mode", "loop-own-train",
        "What the model's class does in its train(), such as freezing layers that are pretrained, never happens.",
        MODES, severity=certain(0.7), fact=True,
    ),
    Rule(
        "bad-data", "loop-repeated",
        "The same samples come several times in a pass: the data say less than their number.",
        "PyTorch documentation, torch.utils.data (randomness in multi-process data loading)", severity=certain(0.9),
        material=0.3, sure=True,
    ),
    Rule(
        "untrained-parameters", "loop-frozen",
        "Layers that were drawn at random are frozen: what follows can only learn from a random map of the inputs.",
        LOOP, severity=lambda v: min(0.95, 0.5 + 0.5 * v), material=0.1, sure=True,
    ),
    Rule(
        "clipped-away", "loop-clipped",
        "Clipping takes nearly all of every gradient away, so that the steps it leaves are too small to train.",
        "Pascanu et al. 2013, section 3.2", severity=certain(0.9), material=0.9,
    ),
    Rule(
        "decay-dominates", "loop-decay",
        "Weight decay pulls the weights to zero faster than the gradient moves them anywhere else.",
        "Krogh and Hertz 1991; Loshchilov and Hutter 2019", severity=certain(0.9), material=1.0,
    ),
    Rule(
        "decay-dominates", "loop-forgets",
        "Weight decay takes away in some steps what the gradient has built up in many.",
        "Krogh and Hertz 1991; Loshchilov and Hutter 2019", severity=certain(0.9), material=0.003,
    ),
    Rule(
        "decay-dominates", "loop-coupled",
        "Small weights are worth more to these steps than a small loss: decay that is added to the gradient holds the "
        "weights below the size that the task needs.",
        "Loshchilov and Hutter 2019, section 2", severity=lambda v: min(0.9, 0.5 + v / 2), material=0.1,
    ),
    Rule(
        "wrong-mode", "loop-mode-training",
        "In evaluation mode dropout is off, and batch normalisation uses statistics that no longer follow the weights.",
        MODES, severity=lambda v: min(0.9, 0.5 + 0.4 * v), material=0.05, sure=True,
    ),
    Rule(
        "wrong-mode", "loop-mode-testing",
        "In training mode dropout is on and batch normalisation mixes the samples of a test batch: what is measured is "
        "not the network that will be used, and the test data change its statistics.",
        MODES, severity=certain(0.5), material=0.5,
    ),
    Rule(
        "wrong-mode", "loop-running",
        "In evaluation mode the network is another than the one that was trained: its running statistics are not those "
        "of its batches.",
        "Ioffe and Szegedy 2015, section 3.1", severity=lambda v: min(0.9, 0.5 + v / 4), material=1.0,
    ),
    Rule(
        "wrong-noise", "loop-noise",
        "What the network is to take the noise from has another variance at each strength than what it is meant for.",
        "Ho et al. 2020, equation 4", severity=certain(0.9), material=0.02, sure=True,
    ),
    Rule(
        "stale-statistics", "loop-left-behind",
        "The weights follow another model and the running statistics do not: in evaluation mode each layer is "
        "normalised by the mean and variance of another network.",
        "Ioffe and Szegedy 2015, section 3.1; PyTorch documentation, torch.optim.swa_utils",
        severity=lambda v: min(0.92, 0.6 + v / 4), material=0.3, sure=True,
    ),
    Rule(
        "early-average", "loop-early",
        "What is tested is an average that still is mostly the weights as they were drawn: it says little of what was "
        "learnt.",
        "Kingma and Ba 2015, section 3 (bias correction)", severity=lambda v: min(0.95, 0.5 + v / 2), material=0.5,
        sure=True,
    ),
    Rule(
        "targets-trained", "loop-drawn-together",
        "What outputs are compared with is trained to be like them: both go to where they agree, at best to one "
        "constant for all inputs, and what a teacher knew is lost.",
        "Chen and He 2021, section 4.1 (without the stop-gradient outputs collapse)", severity=certain(0.93),
        material=0.5, sure=True,
    ),
    Rule(
        "targets-trained", "loop-taught",
        "The teacher is trained to say what its student says: it forgets what it knew, and the two meet half-way.",
        "Hinton et al. 2015, section 2 (the teacher stays as it is)", severity=certain(0.93), material=0.3, sure=True,
    ),
    Rule(
        "unlike-tests", "loop-unlike-tests",
        "What is measured is how the network answers inputs of a size that it was never shown.",
        "LeCun et al. 1998, section 4.3", severity=lambda v: min(0.9, 0.5 + v / 2), material=0.3,
    ),
    Rule(
        "unlike-tests", "loop-other-ids",
        OTHER_VOCABULARY, WORDS, severity=lambda v: min(0.9, 0.5 + v), material=0.2,
    ),
    Rule(
        "wrong-sign", "loop-sign",
        "The loss is maximised: the network learns the opposite of its targets.",
        "Goodfellow et al. 2016, section 4.3", severity=certain(0.98), material=0.9, sure=True,
    ),
    Rule(
        "wrong-sign", "loop-uphill",
        "Steps along the gradient make the loss larger.",
        "Goodfellow et al. 2016, section 4.3", severity=certain(0.95), material=0.9, sure=True,
    ),
    Rule(
        "wrong-sign", "loop-unbounded",
        "The loss has no least value: it falls for ever as the outputs grow, and nothing is learnt of the targets.",
        "Goodfellow et al. 2016, section 4.3", severity=certain(0.95), material=3.0,
    ),
    Rule(
        "wrong-sign", "loop-against-targets",
        "The loss is smaller the further the outputs are from the targets: the network learns their opposite.",
        "Goodfellow et al. 2016, section 4.3", severity=certain(0.98), material=0.3, sure=True,
    ),
    Rule(
        "wrong-sign", "loop-against-rewards",
        "The policy is trained to do less of what is rewarded.",
        "Williams 1992, equation 11", severity=certain(0.95), material=0.5, sure=True,
    ),
    Rule(
        "bad-data", "loop-same-batch",
        "The network learns one batch by heart and never sees the others.",
        "PyTorch documentation, torch.utils.data", severity=certain(0.9), material=0.5, sure=True,
    ),
    Rule(
        "misplaced-targets", "loop-loaders-apart",
        "What is put together row by row belongs to different samples: there is nothing in one of them about the "
        "other.",
        "PyTorch documentation, torch.utils.data (samplers)", severity=certain(0.96), material=0.3, sure=True,
    ),
    Rule(
        "misplaced-targets", "loop-turned",
        "An input is flipped or moved and its target is not: at each place the target is that of another.",
        "Shorten and Khoshgoftaar 2019 (label-preserving augmentation)", severity=certain(0.95), material=0.3,
        sure=True,
    ),
    Rule(
        "misplaced-targets", "loop-rows-apart",
        "Each sample is told another sample's target.",
        "PyTorch documentation, torch.nn.utils.rnn.pack_padded_sequence", severity=certain(0.97), material=0.5,
        sure=True,
    ),
    Rule(
        "misplaced-targets", "loop-collated-apart",
        "Each sample is told another sample's target.",
        "PyTorch documentation, torch.utils.data (collate_fn)", severity=certain(0.97), material=0.5, sure=True,
    ),
    Rule(
        "misplaced-targets", "loop-soft-apart",
        "Samples that are alike have like labels and soft targets that have nothing in common: these belong to others.",
        "Hinton et al. 2015; Good 2005, chapter 3 (permutation tests)", severity=certain(0.8), fact=True, sure=False,
    ),
    Rule(
        "drifting-inputs", "loop-rewritten",
        "The data change each time they are read: what was learnt of them holds for numbers that are no longer there.",
        "PyTorch documentation, in-place operations", severity=certain(0.96), material=0.1, sure=True,
    ),
    Rule(
        "drifting-inputs", "loop-drift",
        "The inputs are not what they were: what was learnt of them holds for numbers that are no longer there.",
        "LeCun et al. 1998, section 4.3", severity=certain(0.8), material=0.5,
    ),
    Rule(
        "same-randomness", "loop-reseeded",
        "Random numbers are the same at every step: dropout takes away the same units, noise is one pattern, and "
        "batches that are chosen at random are one batch.",
        "PyTorch documentation, reproducibility", severity=certain(0.75), material=0.5, sure=True,
    ),
    Rule(
        "wrong-returns", "loop-returns",
        "Actions are credited with what they had no part in: what was earned before them, or after an episode's end.",
        "Williams 1992; Sutton and Barto 2018, section 13.3", severity=certain(0.95), fact=True,
    ),
    Rule(
        "bad-data", "loop-sorted",
        "Batches hold few of the classes: every step unlearns those of the steps before.",
        "Bengio 2012, section 3.1 (shuffling)", severity=lambda v: 0.91 * v, material=0.5,
    ),
    Rule(
        "bad-data", "loop-unrelated",
        "Samples that are alike have targets no more alike than any others: there may be nothing to learn from these "
        "inputs.",
        "Good 2005, chapter 3 (permutation tests)", severity=certain(0.4), fact=True, sure=False,
    ),
    Rule(
        "underflow", "loop-lost-steps",
        "A step smaller than the weights' own rounding leaves them as they are.",
        "Micikevicius et al. 2018, section 3.1", severity=certain(0.9), material=0.5, sure=True,
    ),
    Rule(
        "underflow", "loop-vanished",
        "float16 has no number between zero and 6e-8: smaller gradients are lost, and with them the layers they belong "
        "to.",
        "Micikevicius et al. 2018, section 3.2", severity=certain(0.85), material=0.9,
    ),
    Rule(
        "underflow", "loop-skipped",
        "Gradients leave the range of float16, so that the scaler leaves the steps out.",
        AMP, severity=certain(0.85), material=0.5,
    ),
    Rule(
        "step-too-large", "loop-still-scaled",
        "The scaler multiplied the loss by up to 65536, and the step was taken without dividing again.",
        AMP, severity=certain(0.97), material=0.1, sure=True,
    ),
    Rule(
        "nan-loss", "loop-nan-loss",
        "From here on every gradient and every weight is NaN: nothing is learnt any more.",
        "IEEE 754; PyTorch documentation, anomaly detection", severity=certain(0.93), fact=True,
        remedy="Take smaller steps where the numbers grew before; where an operation is named, keep its argument away "
        "from where it is infinite (an epsilon under a root or a logarithm, a clamp).", sure=False,
    ),
    Rule(
        "nan-loss", "loop-nan-data",
        "Numbers of the data are not finite: the loss of such a sample is not either, and from one step with it on "
        "every weight is NaN.",
        "IEEE 754 (operations on NaN)", severity=certain(0.97), fact=True,
    ),
    Rule(
        "nan-gradient", "loop-nan-gradient",
        "The loss is finite and its gradient is not: one step makes every weight NaN.",
        "IEEE 754; PyTorch documentation, anomaly detection", severity=certain(0.94), fact=True,
        remedy="Where an operation is named, its derivative is infinite (the root at zero, 0/0, a norm of zeros): an "
        "epsilon inside it keeps the derivative finite.", sure=False,
    ),
)  # fmt: skip

DIVERGENCE = ("nan-loss", "nan-gradient", "exploding-signal", "exploding-gradient", "saturated-output", "dead-units")

EXPLAINS: dict[str, tuple[str, ...]] = {
    "gradients-accumulate": ("step-too-large", "decay-dominates", *DIVERGENCE),
    "optimiser-misses": ("step-too-small", "untrained-parameters", "decay-dominates"),
    "step-too-large": DIVERGENCE,
    "wrong-sign": ("step-too-large", *DIVERGENCE),
    "clipped-away": ("step-too-small",),
    "targets-trained": ("bad-data", "step-too-small", "step-too-large"),
    "gradient-cut": ("bad-data", "step-too-small"),
    "unlikely-settings": ("step-too-small", "step-too-large", "decay-dominates", *DIVERGENCE),
    "steps-undone": ("step-too-small", "step-too-large", "decay-dominates", "optimiser-reset", "optimiser-misses"),
    "underflow": ("step-too-small",),
    "few-steps": ("step-too-small", "gradients-accumulate", "step-too-large"),
    "idle-clipping": ("step-too-large", *DIVERGENCE),
    "misplaced-targets": ("step-too-small", "decay-dominates", "bad-data"),
    "drifting-inputs": ("step-too-small", "step-too-large", "decay-dominates", "saturated-output", *DIVERGENCE),
    "same-randomness": ("bad-data", "step-too-small"),
    "wrong-returns": ("step-too-small", "step-too-large"),
    "step-too-small": ("decay-dominates",),
    "decay-dominates": ("step-too-small", "step-too-large"),
    "untrained-parameters": ("step-too-small", "gradients-accumulate"),
    # What the network, the loss or the data do to the loop.
    "unregistered-parameters": ("optimiser-misses", "step-too-small"),
    "target-scale": ("step-too-large", "step-too-small", "clipped-away", "decay-dominates"),
    "output-range": ("step-too-small", "step-too-large", "decay-dominates"),
    "probabilities-as-logits": ("step-too-small", "step-too-large", "decay-dominates"),
    "exploding-signal": ("step-too-large", "clipped-away", "nan-loss", "nan-gradient"),
    "exploding-gradient": ("step-too-large", "clipped-away"),
    "vanishing-signal": ("step-too-small", "decay-dominates"),
    "vanishing-gradient": ("step-too-small", "decay-dominates"),
    "dead-units": ("step-too-small",),
    "saturated-output": ("step-too-large",),
}
