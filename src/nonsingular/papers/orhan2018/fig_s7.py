"""Figure S7: figure 4 on SVHN and, with ``--data stl10``, on STL-10.

As in ``fig4`` but for the images, the epochs, and those after which eigenvalues are estimated: one kind of plain
30-layer network, many seeds, the best tenth against the worst.
"""

from nonsingular.experiments.spec import LAST
from nonsingular.papers.orhan2018 import fig4

FIGURE = fig4.figure(
    "orhan2018/figS7",
    "Figure 4 on SVHN and STL-10",
    "figure S7",
    fig4.SIZES
    | {
        "epochs": (2, 15, 20, 50),
        "moment_epochs": ((1,), (3, LAST), (1, 3, 10, LAST), (1, 3, 10, 30, LAST)),
        "lanczos_epochs": ((), (LAST,), (LAST,), (3, LAST)),
    },
    differs=(
        "One data set a run: SVHN, or with --data stl10 the labelled images of STL-10.",
        "The paper does not say how many networks it trained here: as in its figure 4, 100.",
    ),
    data="svhn",
)
