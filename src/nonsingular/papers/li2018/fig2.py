"""Figure 2: the loss on the line between a solution of small batches and one of large batches.

VGG-9 is trained in four ways: with small and with large batches, each without and with weight decay. The loss is
evaluated on the straight line of weights between a run's small-batch solution (0) and its large-batch one (1). The
paper's point is that looks mislead: weight decay should turn round which solution looks sharp and which wide, since it
shrinks the weights of small batches more, which make more steps; and small batches should generalise better either
way. A run is a seed.
"""

from nonsingular.experiments.figure import Figure
from nonsingular.experiments.verbs import claim, larger
from nonsingular.papers.li2018.parts import drawings, lines, surfaces, vgg9
from nonsingular.papers.li2018.parts.comparisons import compared
from nonsingular.papers.li2018.parts.lines import LABELS, PAIRS, SHARPNESS

SHARP = larger(SHARPNESS, "large-batch", "small-batch")
SHARP_WITH_DECAY = larger(SHARPNESS, "large-batch-decay", "small-batch-decay")

FIGURE = Figure(
    "li2018/fig2",
    "The line between solutions of small and of large batches",
    source="li2018 figure 2, section 3 (published paper)",
    sizes=vgg9.sizes(grid=(9, 41, 81, 81)),
    study=vgg9.study,
    run=lines.run,
    draw={"lines": drawings.lines, "solutions": drawings.solutions},
    claims={
        "large-batch-sharp": claim(
            "Without weight decay the solution of large batches looks sharper than that of small ones", SHARP > 0
        ),
        "decay-turns-sides": claim(
            "With weight decay it is the solution of small batches that looks sharper", SHARP_WITH_DECAY < 0
        ),
        "decay-shrinks-small-batch": claim(
            "With weight decay small batches end with smaller weights",
            compared("weight_norm", "large-batch-decay", "small-batch-decay") > 0,
        ),
        **{
            f"small-batch-generalises{end}": claim(
                f"Small batches generalise better {pair}",
                compared("test_error", f"large-batch{end}", f"small-batch{end}") > 0,
            )
            for end, pair in zip(("", "-decay"), PAIRS, strict=True)
        },
    },
    differs=(
        "The slides at hand do not have this figure; its claims are the published paper's. How sharp an end of the "
        "line is, which the paper shows, is measured here by the mean rise of the loss within a quarter of the way "
        "toward the other end: beyond both ends running variances of batch normalisation are extrapolated, and where "
        "they are negative the loss is not drawn.",
        *vgg9.DIFFERS,
    ),
    labels=surfaces.STORED | LABELS | {"x": "from the small batch at 0 to the large batch at 1"},
)
