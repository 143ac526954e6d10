"""The training loop with convolutions, other losses, tied weights, augmentation and schedules."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from nonsingular.data import Task
from nonsingular.errors import InputError
from nonsingular.training import Population, Trainer, TrainingSpec
from nonsingular.training.augmentation import crop_and_mirror
from nonsingular.training.trainer import _permutation

SGD = TrainingSpec(epochs=4, batch=16, optimiser="sgd", learning_rate=0.05, momentum=0.9, weight_decay=1e-2)


class Convolutional(nn.Module):
    def __init__(self, seed, dropout=0.0):
        super().__init__()
        torch.manual_seed(seed)
        self.first, self.norm = nn.Conv2d(2, 6, 3, padding=1), nn.BatchNorm2d(6)
        self.second, self.readout = nn.Conv2d(6, 6, 3, padding=1, bias=False), nn.Linear(6, 3)
        self.dropout = nn.Dropout(dropout)
        self.frozen = nn.Parameter(torch.ones(6), requires_grad=False)

    def forward(self, x):
        x = torch.relu(self.norm(self.first(x)))
        return self.readout(self.dropout(torch.relu(self.second(x)).mean((2, 3)) * self.frozen))


class Tied(nn.Module):
    def __init__(self, seed):
        super().__init__()
        torch.manual_seed(seed)
        self.one, self.two = nn.Linear(8, 8), nn.Linear(8, 8)
        self.two.weight = self.one.weight
        self.register_buffer("scale", torch.tensor(2.0), persistent=False)

    def forward(self, x):
        return self.scale * self.two(torch.tanh(self.one(x)))


@pytest.fixture
def pictures():
    generator = torch.Generator().manual_seed(1)
    labels = torch.arange(60) % 3
    inputs = torch.randn(60, 2, 5, 6, generator=generator) + labels[:, None, None, None]
    return Task(inputs[:48], labels[:48], inputs[48:], labels[48:], classes=3)


def plain_loop(network, task, seed, spec, loss=F.cross_entropy):
    """The slow, obvious way: one network, one loop, stock optimiser and scheduler."""
    optimiser = torch.optim.SGD(
        network.parameters(), lr=spec.learning_rate, momentum=spec.momentum, weight_decay=spec.weight_decay
    )
    schedule = torch.optim.lr_scheduler.MultiStepLR(optimiser, spec.milestones, spec.decay)
    network.train()
    for epoch in range(spec.epochs):
        for rows in _permutation(len(task.train_labels), seed, epoch).split(spec.batch):
            optimiser.zero_grad()
            loss(network(task.train_inputs[rows]), task.train_labels[rows]).backward()
            optimiser.step()
        schedule.step()
    return network


def train(networks, seeds, task, spec, **options):
    trainer = Trainer(networks, seeds, task, spec, **options)
    for _ in range(spec.epochs):
        trainer.train_epoch()
    return trainer


def assert_equal_members(population, networks):
    for run, network in enumerate(networks):
        found = population.network(run).state_dict()
        for name, tensor in network.state_dict().items():
            torch.testing.assert_close(found[name], tensor.detach(), rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize("vectorised", [False, True], ids=["one after another", "vectorised"])
def test_convolutions_follow_the_plain_loop(pictures, vectorised):
    spec = TrainingSpec(**(vars(SGD) | {"milestones": (1, 3), "decay": 0.3}))
    trainer = train([Convolutional(s) for s in (3, 4)], [3, 4], pictures, spec, vectorised=vectorised)
    assert trainer.population.vectorised == vectorised
    slow = [plain_loop(Convolutional(s), pictures, s, spec) for s in (3, 4)]
    assert_equal_members(trainer.population, slow)
    result = trainer.evaluate(pictures.test_inputs, pictures.test_labels, batch=5)
    for run, network in enumerate(slow):
        outputs = network.eval()(pictures.test_inputs)
        assert result.accuracy[run] == (outputs.argmax(1) == pictures.test_labels).float().mean()
        torch.testing.assert_close(result.loss[run], F.cross_entropy(outputs, pictures.test_labels).detach())


def test_warming_up_takes_a_tenth_of_the_rate():
    spec = TrainingSpec(epochs=4, learning_rate=0.1, milestones=(2,), decay=0.1, warm_up=1)
    assert [spec.rate(epoch) for epoch in range(4)] == pytest.approx([0.01, 0.1, 0.01, 0.01])


def test_both_ways_of_computing_a_population_agree(pictures):
    networks = [Convolutional(s) for s in range(3)]
    fast, slow = Population(networks, vectorised=True), Population(networks, vectorised=False)
    x = torch.randn(3, 7, 2, 5, 6)
    torch.testing.assert_close(fast(x), slow(x))
    torch.testing.assert_close(fast(x[0], shared=True), slow(x[0], shared=True))
    offsets = {"first": torch.randn(3, 7, 6, 5, 6)}
    for mode in (True, False):
        (a, seen_a), (b, seen_b) = (p.record(x[0], offsets, training=mode) for p in (fast, slow))
        torch.testing.assert_close(a, b)
        torch.testing.assert_close(seen_a, seen_b)


def test_members_come_out_as_they_went_in():
    for networks in ([Convolutional(s) for s in range(2)], [Tied(s) for s in range(2)]):
        population = Population(networks)
        x = torch.randn(4, 2, 5, 6) if isinstance(networks[0], Convolutional) else torch.randn(4, 8)
        for run, network in enumerate(networks):
            copy = population.network(run).eval()
            assert torch.equal(copy(x), network.eval()(x))
            assert [p.requires_grad for p in copy.parameters()] == [p.requires_grad for p in network.parameters()]
    assert copy.two.weight is copy.one.weight


@pytest.mark.parametrize("vectorised", [True, False])
def test_tied_weights_and_another_loss(vectorised):
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(32, 8, generator=generator)
    task = Task(x, x.roll(1, 1), x[:8], x[:8].roll(1, 1), classes=8)
    trainer = train([Tied(5), Tied(6)], [5, 6], task, SGD, loss=F.mse_loss, vectorised=vectorised)
    slow = [plain_loop(Tied(s), task, s, SGD, F.mse_loss) for s in (5, 6)]
    assert_equal_members(trainer.population, slow)
    result = trainer.evaluate(task.test_inputs, task.test_labels, batch=3)
    assert result.accuracy.isnan().all()
    for run, network in enumerate(slow):
        expected = F.mse_loss(network(task.test_inputs), task.test_labels).detach()
        torch.testing.assert_close(result.loss[run], expected, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("dropout", [0.0, 0.3])
def test_a_run_alone_is_the_run_among_others_and_a_resumed_one(pictures, dropout):
    spec = TrainingSpec(**(vars(SGD) | {"augment": "crop+mirror"}))
    together = train([Convolutional(s, dropout) for s in (3, 4)], [3, 4], pictures, spec)
    stopped, whole = (Trainer([Convolutional(4, dropout)], [4], pictures, spec) for _ in range(2))
    for _ in range(2):
        stopped.train_epoch()
    torch.manual_seed(99)
    resumed = Trainer([Convolutional(0, dropout)], [4], pictures, spec)
    resumed.load(stopped.state())
    for _ in range(2):
        resumed.train_epoch()
    for _ in range(4):
        whole.train_epoch()
    for name, parameter in together.population.parameters.items():
        assert torch.equal(resumed.population.parameters[name], whole.population.parameters[name]), name
        # Among others a run's numbers lie elsewhere in memory, and the optimiser's fused loop rounds differently.
        torch.testing.assert_close(parameter[1], whole.population.parameters[name][0], rtol=1e-4, atol=1e-6)


def test_training_leaves_the_callers_random_numbers_alone(pictures):
    trainer = Trainer([Convolutional(0, dropout=0.5)], [0], pictures, SGD)
    before = torch.get_rng_state()
    trainer.train_epoch()
    assert torch.equal(torch.get_rng_state(), before)


def test_a_frozen_parameter_stays(pictures):
    trainer = train([Convolutional(0)], [0], pictures, SGD)
    assert (trainer.population.parameters["frozen"] == 1).all()


@pytest.mark.parametrize("reflect", [False, True])
def test_crops_and_mirrors_are_shifted_copies(reflect):
    images = torch.arange(1, 4 * 5 * 6 * 2 + 1, dtype=torch.float32).view(4, 5, 6, 2)
    found = crop_and_mirror(images, torch.Generator().manual_seed(0), padding=2, reflect=reflect)
    padded = F.pad(images.permute(0, 3, 1, 2), (2, 2, 2, 2), "reflect" if reflect else "constant").permute(0, 2, 3, 1)
    for image, source in zip(found, padded, strict=True):
        candidates = [
            crop if not mirrored else crop.flip(1)
            for i in range(5)
            for j in range(5)
            for crop in [source[i : i + 5, j : j + 6]]
            for mirrored in (False, True)
        ]
        assert any(torch.equal(image, c) for c in candidates)
    assert not torch.equal(found, images)


def test_all_shifts_and_both_sides_occur_equally_often():
    images = torch.zeros(9_000, 3, 3, 1)
    images[:, 1, 0] = 1  # left of the middle
    found = crop_and_mirror(images, torch.Generator().manual_seed(0), padding=1).squeeze(-1)
    places = found.mean(0)
    # Down by -1, 0, 1 with 1/3 each; the column from 0 or 2 (mirrored first or last), shifted likewise.
    torch.testing.assert_close(places.sum(1), torch.full((3,), 1 / 3 * 2 / 3), atol=0.03, rtol=0)
    torch.testing.assert_close(places[:, 0], places[:, 2], atol=0.03, rtol=0)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"augment": "cutout"}, "unknown augmentation 'cutout'; there are none, crop"),
        ({"weight_decay": -1.0}, "weight_decay must be at least 0"),
        ({"warm_up": -1}, "warm_up must be at least 0"),
    ],
)
def test_wrong_specs_are_refused(wrong, message):
    with pytest.raises(InputError, match=message):
        TrainingSpec(**wrong)


def test_reflections_of_images_smaller_than_the_shift_go_back_and_forth():
    images = torch.tensor([1.0, 2.0]).view(1, 1, 2, 1).expand(200, 1, 2, 1)
    found = crop_and_mirror(images, torch.Generator().manual_seed(0), padding=4, reflect=True).squeeze()
    assert {tuple(row.tolist()) for row in found} == {(1.0, 2.0), (2.0, 1.0)}


@pytest.mark.parametrize(("augment", "dark"), [("crop+mirror", True), ("reflected-crop+mirror", False)])
def test_training_augments_as_it_is_told(augment, dark):
    task = Task(torch.ones(20, 1, 8, 8), torch.arange(20) % 2, torch.ones(2, 1, 8, 8), torch.arange(2), classes=2)
    spec = TrainingSpec(batch=20, augment=augment)
    trainer = Trainer([nn.Sequential(nn.Flatten(), nn.Linear(64, 2))], [0], task, spec)
    batch = trainer._gather(torch.arange(20)[None], [torch.Generator().manual_seed(0)])
    assert bool((batch == 0).any()) == dark


def test_augmentation_needs_images(task):
    with pytest.raises(InputError, match=r"needs images; these inputs have shape \(8,\)"):
        Trainer([nn.Linear(8, 3)], [0], task, TrainingSpec(batch=10, augment="crop+mirror"))
