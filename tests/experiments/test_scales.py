"""The four scales of every experiment: what overnight adds to a laptop's minutes."""

import pytest

from nonsingular.errors import InputError
from nonsingular.experiments.spec import SCALES, at_scale
from nonsingular.papers.registry import experiments

TRAINED = [e for e in experiments() if e.spec("smoke").training is not None]
FEW_ON_PURPOSE = {"orhan2018/figS3"}  # epochs of ten steps are what its claims are about


def images(spec):
    return float("inf") if spec.data.train is None else spec.data.train


@pytest.mark.parametrize("experiment", TRAINED, ids=lambda e: e.id)
def test_overnight_trains_more_than_a_laptop_and_on_all_images(experiment):
    laptop, overnight = experiment.spec("laptop"), experiment.spec("overnight")
    assert overnight.runs >= 3
    assert overnight.data.train is None or experiment.id in FEW_ON_PURPOSE
    if overnight.data.name == laptop.data.name and images(laptop) < images(overnight):
        many = 50_000 * (1 + overnight.data.mirror)
        assert many / overnight.training.batch * overnight.training.epochs > (
            images(laptop) * (1 + laptop.data.mirror) / laptop.training.batch * laptop.training.epochs
        )


def test_what_trains_nothing_takes_the_papers_numbers():
    table = {"smoke": 1, "laptop": 2, "paper": 3}
    assert [at_scale(table, scale) for scale in SCALES] == [1, 2, 3, 3]
    with pytest.raises(InputError, match="smoke, laptop, overnight, paper"):
        at_scale(table, "night")
