"""Whatever form model, loss and data come in, the numbers are those of plain autograd, or they are refused."""

import copy
import warnings
from dataclasses import dataclass

import pytest
import torch
from torch import nn
from torch.nn import functional as F
from torch.utils.checkpoint import checkpoint
from torch.utils.data import DataLoader, TensorDataset

from nonsingular.curvature import GaussNewton, Hessian, Jacobian, spectrum
from nonsingular.errors import InputError
from nonsingular.landscape import eigenvectors, line
from nonsingular.objective import Objective, read, taken_by
from nonsingular.objective.finite import finite

N, WIDTH, CLASSES = 12, 4, 3


def data(seed=0, rows=N):
    g = torch.Generator().manual_seed(seed)
    return torch.randn(rows, WIDTH, generator=g).double(), torch.randint(CLASSES, (rows,), generator=g)


def network(seed=0):
    torch.manual_seed(seed)
    return nn.Sequential(nn.Linear(WIDTH, 5), nn.Tanh(), nn.Linear(5, CLASSES)).double()


def product(loss, model, v):
    """The Hessian of ``loss()`` times ``v`` by double backward."""
    params = [p for p in model.parameters() if p.requires_grad]
    gradient = torch.cat([g.flatten() for g in torch.autograd.grad(loss(), params, create_graph=True)])
    return torch.cat([h.flatten() for h in torch.autograd.grad(gradient @ v, params, materialize_grads=True)])


def vector(model):
    size = sum(p.numel() for p in model.parameters() if p.requires_grad)
    return torch.randn(size, generator=torch.Generator().manual_seed(5), dtype=torch.float64)


class Named(nn.Module):
    """Takes keywords, and returns its own loss where it gets labels."""

    def __init__(self):
        super().__init__()
        self.net = network()

    def forward(self, features, scale=1.0, labels=None):
        logits = self.net(features * scale)
        return {"logits": logits} | ({"loss": F.cross_entropy(logits, labels)} if labels is not None else {})


class AsOne(nn.Module):
    """Takes a whole batch as one argument."""

    def __init__(self):
        super().__init__()
        self.net = network()

    def forward(self, batch):
        return self.net(batch["x"] if isinstance(batch, dict) else batch.x)


class Whole(nn.Module):
    """Its forward is the loss."""

    def __init__(self):
        super().__init__()
        self.net = network()

    def forward(self, x, y):
        return F.cross_entropy(self.net(x), y)


@dataclass
class Graph:
    x: torch.Tensor
    y: torch.Tensor


X, Y = data()
PARTS = [(X[:5], Y[:5]), (X[5:], Y[5:])]
CE = F.cross_entropy


def labelled():
    return [{"features": x, "labels": y} for x, y in PARTS]


BROUGHT = {
    "list of pairs": (network, CE, lambda: PARTS),
    "one pair": (network, CE, lambda: (X, Y)),
    "lists": (network, CE, lambda: [[X, Y]]),
    "loader": (network, CE, lambda: DataLoader(TensorDataset(X, Y), batch_size=5)),
    "generator": (network, CE, lambda: (p for p in PARTS)),
    "keywords": (Named, lambda out, y: CE(out["logits"], y), lambda: [({"features": x}, y) for x, y in PARTS]),
    "positional": (Named, lambda out, y: CE(out["logits"], y), lambda: [((x, torch.ones(1)), y) for x, y in PARTS]),
    "dictionaries": (Named, lambda out, y: CE(out["logits"], y), labelled),
    "own loss": (Named, None, labelled),
    "one dictionary": (Named, None, lambda: {"features": X, "labels": Y}),
    "a dictionary as one argument": (AsOne, CE, lambda: [({"x": x}, y) for x, y in PARTS]),
    "objects": (AsOne, CE, lambda: [Graph(x, y) for x, y in PARTS]),
    "one object": (AsOne, CE, lambda: Graph(X, Y)),
    "forward is the loss": (Whole, None, lambda: PARTS),
    "model and batch": (network, lambda model, batch: CE(model(batch[0]), batch[1]), lambda: PARTS),
    "names that say nothing": (network, lambda a, b: CE(a(b[0]), b[1]), lambda: PARTS),
    "names that say nothing, of outputs": (network, lambda a, b: CE(a, b), lambda: PARTS),
    "no data": (network, lambda model: CE(model(X), Y), lambda: None),
    "no loss: class numbers": (network, None, lambda: PARTS),
    "compiled": (lambda: torch.compile(network(), backend="eager"), CE, lambda: PARTS),
    "data parallel": (lambda: nn.DataParallel(network()), CE, lambda: PARTS),
    "loss module": (network, nn.CrossEntropyLoss(), lambda: PARTS),
    "a loss that is a tensor of one entry": (network, lambda out, y: CE(out, y)[None], lambda: PARTS),
}  # fmt: skip


@pytest.mark.parametrize("name", BROUGHT)
def test_every_form_gives_the_same_curvature(name):
    make, loss_fn, batches = BROUGHT[name]
    model, plain = make(), network()
    v = vector(plain)
    expected = product(lambda: CE(plain(X), Y), plain, v)
    torch.testing.assert_close(Hessian(model, loss_fn, batches()) @ v, expected, rtol=1e-9, atol=1e-12)
    objective = Objective(model, loss_fn, batches())
    torch.testing.assert_close(objective.value(), CE(plain(X), Y))
    torch.testing.assert_close(Hessian(objective) @ v, expected, rtol=1e-9, atol=1e-12)


def test_a_lightning_module_brings_its_training_step():
    lightning = pytest.importorskip("lightning")

    class Module(lightning.LightningModule):
        def __init__(self):
            super().__init__()
            self.net = network()

        def forward(self, x):
            return self.net(x)

        def training_step(self, batch, batch_idx):
            loss = CE(self(batch[0]), batch[1])
            self.log("loss", loss)
            return {"loss": loss}

    plain = network()
    v = vector(plain)
    assert Objective(Module(), None, PARTS).form == "step"
    torch.testing.assert_close(Hessian(Module(), None, PARTS) @ v, product(lambda: CE(plain(X), Y), plain, v))


def test_losses_without_targets():
    model, v = network(), vector(network())
    expected = product(lambda: (model(X) ** 2).mean(), model, v)
    for batches in (X, [X[:5], X[5:]], [(X,)], [[X[:5]], [X[5:]]], [(X, None)]):
        torch.testing.assert_close(Hessian(model, lambda out: (out**2).mean(), batches) @ v, expected)
        torch.testing.assert_close(Hessian(model, lambda out, target: (out**2).mean(), batches) @ v, expected)


def test_inputs_that_require_gradients_keep_that():
    net = nn.Sequential(nn.Linear(2, 4), nn.Tanh(), nn.Linear(4, 1)).double()
    points = torch.rand(9, 2, dtype=torch.float64, requires_grad=True)

    def residual(model, batch):
        u = model(batch)
        slope = torch.autograd.grad(u.sum(), batch, create_graph=True)[0]
        return ((slope[:, 0] - u[:, 0]) ** 2).mean()

    v = vector(net)
    with pytest.warns(UserWarning, match="cannot be linearised"):
        got = Hessian(net, residual, points) @ v
    torch.testing.assert_close(got, product(lambda: residual(net, points), net, v))
    with torch.no_grad():
        torch.testing.assert_close(Objective(net, residual, points).value().detach(), residual_value(net, points))


def residual_value(net, points):
    with torch.enable_grad():
        u = net(points)
        slope = torch.autograd.grad(u.sum(), points)[0]
    return ((slope[:, 0] - u[:, 0]) ** 2).mean().detach()


# --- copies -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", [Hessian, GaussNewton])
@pytest.mark.parametrize("used", [True, False])
def test_training_on_changes_nothing(kind, used):
    model, (x, y) = network(), data()
    v = vector(model)
    expected = kind(network(), CE, [(X, Y)]) @ v
    H = kind(model, CE, [(x, y)])
    if used:
        H @ v
    with torch.no_grad():
        for p in model.parameters():
            p.add_(1.0)
    x.mul_(3)
    model[1] = nn.ReLU()
    torch.testing.assert_close(H @ v, expected)
    torch.testing.assert_close(H.recomputed_product(v), expected)


def normalised():
    return nn.Sequential(nn.Linear(WIDTH, 5), nn.BatchNorm1d(5), nn.Dropout(0.3), nn.Linear(5, CLASSES)).double()


def step(model):
    return {"0.weight": torch.ones_like(model[0].weight)}


MEASURES = {  # everything that takes a model: a number of it, and what it says of the mode
    "objective": lambda m, **o: (o := Objective(m, CE, (X, Y), **o)) and (o.value(), o.mode),
    "Hessian": lambda m, **o: (H := Hessian(m, CE, (X, Y), **o)) and (H.trace().value, repr(H)),
    "Gauss-Newton": lambda m, **o: (G := GaussNewton(m, CE, (X, Y), **o)) and (G.trace().value, repr(G)),
    "Jacobian": lambda m, **o: (J := Jacobian(m, X, **o)) and (J.dense().square().sum(), repr(J)),
    "spectrum": lambda m, **o: (s := spectrum(Hessian(m, CE, (X, Y), **o))) and (s.trace[0], repr(s)),
    "line": lambda m, **o: (
        (x := line(m, CE, (X, Y), step(m), grid=3, **o)) and (float(x.loss[0]), x.attrs["model_mode"])
    ),
    "eigenvectors": lambda m, **o: (eigenvectors(m, CE, (X, Y), count=1, **o)[1][0], "evaluation training"),
}


@pytest.mark.parametrize("name", MEASURES)
def test_everything_measures_in_evaluation_mode_unless_another_is_said(name):
    torch.manual_seed(0)
    measure, model = MEASURES[name], normalised()
    evaluated, said = measure(model.eval())
    assert "eval" in said
    trained, said = measure(model, mode="train", seed=0)
    assert "train" in said
    assert float(trained) != pytest.approx(float(evaluated), rel=1e-3)
    model.train()
    with pytest.warns(UserWarning, match="is in training mode.*measured in evaluation mode") as caught:
        assert float(measure(model)[0]) == pytest.approx(float(evaluated))
    assert caught[0].filename == __file__  # the line that has to change
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert float(measure(model, mode="eval")[0]) == pytest.approx(float(evaluated))
        assert float(measure(model, mode="own", seed=0)[0]) == pytest.approx(float(trained))
        measure(nn.Sequential(nn.Linear(WIDTH, CLASSES)).double().train())  # the same in both
    assert model.training
    assert not model[1].running_mean.any()
    with pytest.raises(InputError, match="mode must be 'eval', 'train', 'own'"):
        measure(model, mode="test")


def test_of_each_model_the_mode_is_told_once():
    first, second = normalised(), normalised()
    with pytest.warns(UserWarning, match="is in training mode") as caught:
        made = [Objective(model, CE, (X, Y)) for model in (first, first, second, first)]
    assert len(caught) == 2
    assert all(objective.notes for objective in made)


def test_modules_may_keep_modes_of_their_own():
    model = normalised().train()
    model[1].eval()
    objective = Objective(model, CE, (X, Y), mode="own", seed=0)
    assert (objective.mode, objective.mode_in_words) == ("own", "own (4 of 5 modules in training mode)")
    assert Objective(model, CE, (X, Y), mode=objective.mode, seed=0).mode_in_words == objective.mode_in_words
    model.eval()
    model[2].train()
    torch.testing.assert_close(Objective(model, CE, (X, Y), mode="own", seed=0).value(), objective.value())


def test_buffers_that_the_model_writes_are_as_they_were_in_every_evaluation():
    class Counts(nn.Module):
        def __init__(self):
            super().__init__()
            self.net = network()
            self.register_buffer("calls", torch.zeros((), dtype=torch.float64))

        def forward(self, x):
            self.calls += 1
            return self.net(x) * self.calls

    plain = network()
    v = vector(plain)
    H = Hessian(Counts(), CE, [(X, Y)])
    expected = product(lambda: CE(plain(X), Y), plain, v)
    for _ in range(2):
        torch.testing.assert_close(H @ v, expected)
        torch.testing.assert_close(H.recomputed_product(v), expected)


def test_data_that_the_model_or_the_loss_writes_into_are_as_they_were_in_every_evaluation():
    class Shifts(nn.Module):
        def __init__(self):
            super().__init__()
            self.net = network()

        def forward(self, x):
            x += 1
            return self.net(x)

    def relabelled(out, y):
        y[y == 2] = 1
        return CE(out, y)

    plain, x, y = network(), X.clone(), Y.clone()
    v = vector(plain)
    expected = product(lambda: CE(plain(X + 1), Y.clamp(max=1)), plain, v)
    objective = Objective(Shifts(), relabelled, cut(x, y, 5))
    torch.testing.assert_close(Hessian(objective) @ v, expected)
    torch.testing.assert_close(objective.value(), CE(plain(X + 1), Y.clamp(max=1)))
    assert torch.equal(x, X)
    assert torch.equal(y, Y)


@pytest.mark.parametrize("normalise", [nn.utils.weight_norm, nn.utils.parametrizations.weight_norm])
@pytest.mark.filterwarnings("ignore::FutureWarning")
def test_weight_normalisation_has_its_own_second_derivative(normalise):
    model = network()
    normalise(model[0])  # the second derivative of torch's own form is not symmetric
    H = Hessian(model, CE, PARTS)
    assert H.linearised
    v, step = vector(model), 1e-5
    at = nn.utils.parameters_to_vector(model.parameters()).detach()

    def gradient(flat):
        nn.utils.vector_to_parameters(flat, model.parameters())
        return nn.utils.parameters_to_vector(torch.autograd.grad(CE(model(X), Y), list(model.parameters())))

    slope = (gradient(at + step * v) - gradient(at - step * v)) / (2 * step)
    torch.testing.assert_close(H @ v, slope, rtol=1e-6, atol=1e-8)


def test_a_model_that_cannot_be_copied_is_used_without_a_trace():
    model = network()
    model.lock = __import__("threading").Lock()
    v = vector(model)
    before = {k: t.clone() for k, t in model.state_dict().items()}
    parameters = list(model.parameters())
    H = Hessian(model, CE, [(X, Y)])
    torch.testing.assert_close(H @ v, product(lambda: CE(model(X), Y), model, v))
    assert all(torch.equal(t, before[k]) for k, t in model.state_dict().items())
    assert all(a is b for a, b in zip(model.parameters(), parameters, strict=True))


def test_a_module_of_two_names_is_left_as_it_was():
    layer = nn.Linear(WIDTH, WIDTH).double()
    model = nn.Sequential(layer, nn.Tanh(), layer)
    Hessian(model, F.mse_loss, [(X, X)])
    assert isinstance(layer.weight, nn.Parameter)
    assert isinstance(Objective(model, F.mse_loss, [(X, X)]).model[0].weight, nn.Parameter)


# --- losses that reach the model by themselves ---------------------------------------------------------------


class Center(nn.Module):
    def __init__(self):
        super().__init__()
        self.net = network()
        self.register_buffer("centres", torch.randn(CLASSES, CLASSES).double())

    def forward(self, x):
        return self.net(x)


def closures():
    model, norm = network(), Center()
    first, other = list(model.parameters()), network(1)
    other[0].weight = model[0].weight
    array, squares = model[0].weight.detach().numpy(), model[0].weight ** 2
    frozen = network()
    frozen[0].weight.requires_grad_(False)
    return {
        "the whole model": (model, lambda out, y: CE(model(X)[: len(y)], y)),
        "a penalty": (model, lambda out, y: CE(out, y) + sum((p**2).sum() for p in model.parameters())),
        "a penalty on one layer": (model, lambda out, y: CE(out, y) + (model[2].bias ** 2).sum()),
        "captured parameters": (model, lambda out, y: CE(out, y) + (first[3] ** 4).sum()),
        "a detached weight": (model, lambda out, y: CE(out, y) * (1 + model[0].weight.detach().norm())),
        "data": (model, lambda out, y: CE(out, y) * (1 + model[0].weight.data.abs().sum())),
        "a frozen weight": (frozen, lambda out, y: CE(out, y) + (frozen[0].weight ** 2).sum()),
        "a submodule": (model, lambda out, y: CE(out, y) + model[0](X).pow(2).mean()),
        "what was computed from weights before": (model, lambda out, y: CE(out, y) + squares.sum()),
        "memory that NumPy shares": (model, lambda out, y: CE(out, y) + torch.from_numpy(array).pow(2).sum()),
        "a buffer": (norm, lambda out, y: CE(out, y) + (out - norm.centres[y]).pow(2).mean()),
        "a model that shares a weight": (model, lambda out, y: CE(out, y) + other(X).pow(2).mean()),
        "of model and batch, with another model": (model, lambda net, batch: CE(model(batch[0]), batch[1])),
    }


@pytest.mark.parametrize("name", closures())
def test_closures_over_the_model_are_refused(name):
    model, loss_fn = closures()[name]
    with pytest.raises(InputError, match=r"reaches the model's [\w.]+ by itself.*loss_fn\(model, batch\)"):
        Objective(model, loss_fn, PARTS)


def test_what_is_no_reading_is_no_closure():
    model, teacher = network(), network(3)

    def loss(out, y):
        zero = model[0].weight.new_zeros(()) + torch.zeros_like(model[2].bias).sum() + model[0].weight.shape[0] * 0
        return CE(out, y) + F.mse_loss(out, teacher(X)[: len(out)]) * 0 + zero

    Objective(model, loss, [(X, Y)])


def test_loss_modules_that_hold_the_model_follow_it():
    class Penalised(nn.Module):
        def __init__(self, net):
            super().__init__()
            self.net = net

        def forward(self, out, y):
            return CE(out, y) + sum((p**2).sum() for p in self.net.parameters())

    model = network()
    v = vector(model)
    expected = product(lambda: CE(model(X), Y), model, v) + 2 * v
    torch.testing.assert_close(Hessian(model, Penalised(model), PARTS) @ v, expected)


# --- weights of batches --------------------------------------------------------------------------------------


def off(model, loss_fn, batches, whole, **options):
    v = vector(model)
    return (Hessian(model, loss_fn, batches, **options) @ v - product(whole, model, v)).norm() / v.norm()


def cut(x, y, *at):
    return list(zip(x.tensor_split(at), y.tensor_split(at), strict=True))


IGNORED = Y.clone()
IGNORED[::2] = -100
CLASS_WEIGHTS = torch.tensor([1.0, 5.0, 0.2]).double()
MEANS = {
    "samples": (CE, Y),
    "ignored targets": (CE, IGNORED),
    "ignored targets of a module": (nn.CrossEntropyLoss(ignore_index=1), Y),
    "class weights": (nn.CrossEntropyLoss(weight=CLASS_WEIGHTS), Y),
    "class weights in a function": (lambda out, y: CE(out, y, weight=CLASS_WEIGHTS, label_smoothing=0.1), Y),
    "a mask in the target": (lambda out, y: (out[:, 0] * y).sum() / y.sum(), (Y == 1).double()),
    "model and batch": (lambda model, batch: CE(model(batch[0]), batch[1]), Y),
    "model and batch, class weights": (lambda model, batch: CE(model(batch[0]), batch[1], weight=CLASS_WEIGHTS), Y),
    "model and batch, ignored targets": (lambda model, batch: CE(model(batch[0]), batch[1]), IGNORED),
}


@pytest.mark.parametrize("name", MEANS)
@pytest.mark.parametrize("at", [(3,), (2, 7), (6,)])
def test_batches_of_any_size_give_the_whole_data(name, at):
    loss_fn, y = MEANS[name]
    model = network()
    whole = lambda: loss_fn(model, (X, y)) if name.startswith("model") else loss_fn(model(X), y)  # noqa: E731
    assert off(model, loss_fn, cut(X, y, *at), whole) < 1e-9


def test_a_batch_without_a_valid_target_weighs_nothing():
    y = Y.clone()
    y[:3] = -100
    for order in (1, -1):
        model = network()
        assert off(model, CE, cut(X, y, 3)[::order], lambda m=model: CE(m(X), y)) < 1e-9
    assert "weighs nothing" in Objective(network(), CE, cut(X, y, 3)).notes[0]
    with pytest.raises(InputError, match="all are ignored"):
        Objective(network(), CE, [(X, torch.full((N,), -100))])


def test_what_is_no_mean_is_asked_for_unless_batches_are_alike():
    def contrastive(out, y):
        z = F.normalize(out, dim=1)
        return torch.logsumexp(z @ z.T, 1).mean()

    with pytest.raises(InputError, match=r"no mean of theirs.*samples 5 : 7.*give weights="):
        Objective(network(), contrastive, PARTS)
    assert Objective(network(), contrastive, cut(X, Y, 6)).weights == [0.5, 0.5]
    assert Objective(network(), contrastive, PARTS, weights="equal").weights == [0.5, 0.5]
    assert Objective(network(), contrastive, PARTS, weights="samples").weights == [5 / 12, 7 / 12]
    function = Objective(network(), contrastive, PARTS, weights=lambda batch: len(batch[0]) ** 2)
    assert function.weights == [25 / 74, 49 / 74]


def test_batch_normalisation_in_training_does_not_hide_what_batches_weigh():
    """Equal numbers of samples, too, that classes weigh otherwise: samples of a union would be normalised together."""
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(6, 5), nn.BatchNorm1d(5), nn.Linear(5, 3)).double()
    x, y = torch.randn(8, 6, dtype=torch.float64), torch.tensor([0, 0, 0, 0, 1, 1, 2, 2])
    weight = torch.tensor([0.5, 1.0, 3.0], dtype=torch.float64)

    def penalised(model, batch):
        return CE(model(batch[0]), batch[1], weight=weight) + 0.1 * model[0].weight.square().sum()

    found = Objective(model, penalised, cut(x, y, 4), mode="train")
    torch.testing.assert_close(torch.tensor(found.weights), torch.tensor([0.2, 0.8]))
    assert found.mode == "train"


@pytest.mark.parametrize("between", ["nothing", "BatchNorm1d", "Dropout", "function"])
def test_what_batches_weigh_is_that_of_the_mode(between):
    """A loss that averages otherwise in training: dropout and normalisation are calmed, and the mode is left."""

    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.first, self.last = nn.Linear(6, 5), nn.Linear(5, 3)
            self.between = {"BatchNorm1d": nn.BatchNorm1d(5), "Dropout": nn.Dropout()}.get(between, nn.Identity())

        def forward(self, x):
            h = self.between(self.first(x))
            return self.last(F.dropout(h, training=self.training) if between == "function" else h)

    def weighed(model, batch):
        return CE(model(batch[0]), batch[1], weight=weight if model.training else None)

    def added(model, batch):
        return CE(model(batch[0]), batch[1], reduction="sum" if model.training else "mean")

    torch.manual_seed(0)
    model, weight = Net().double(), torch.tensor([0.5, 1.0, 3.0], dtype=torch.float64)
    x, y = torch.randn(8, 6, dtype=torch.float64), torch.tensor([0, 0, 0, 0, 1, 1, 2, 2])
    for mode, expected in {"train": [0.2, 0.8], "eval": [0.5, 0.5]}.items():
        found = Objective(model, weighed, cut(x, y, 4), mode=mode, seed=0).weights
        torch.testing.assert_close(torch.tensor(found), torch.tensor(expected))
    with pytest.raises(InputError, match="adds up over samples"):
        Objective(model, added, cut(x, y, 2), mode="train", seed=0)
    assert Objective(model, added, cut(x, y, 2), mode="eval").weights == [0.25, 0.75]


def test_losses_that_add_up_are_told():
    with pytest.raises(InputError, match="give reduction='sum'"):
        Objective(network(), nn.CrossEntropyLoss(reduction="sum"), PARTS)
    summed = Objective(network(), nn.CrossEntropyLoss(reduction="sum"), PARTS, reduction="sum")
    torch.testing.assert_close(summed.value(), CE(network()(X), Y, reduction="sum"))


def test_unlike_lengths_are_asked_for_where_nothing_proves_them():
    class PerToken(nn.Module):
        def __init__(self):
            super().__init__()
            self.net = network()

        def forward(self, x):
            return self.net(x)

    def next_token(out, y):
        return CE(out[:, :-1].flatten(0, 1), y[:, 1:].flatten())

    g = torch.Generator().manual_seed(2)
    long = [
        (torch.randn(3, t, WIDTH, generator=g).double(), torch.randint(CLASSES, (3, t), generator=g)) for t in (4, 9)
    ]
    with pytest.raises(InputError, match="weights='samples', 'tokens'"):
        Objective(PerToken(), next_token, long)
    assert Objective(PerToken(), next_token, long, weights="tokens").weights == [3 / 11, 8 / 11]
    mixed = [long[0], long[0], long[1]]  # the first two can be joined, the third cannot
    with pytest.raises(InputError, match="weights='samples', 'tokens'"):
        Objective(PerToken(), lambda model, batch: next_token(model(batch[0]), batch[1]), mixed)
    same = Objective(PerToken(), lambda out, y: CE(out.flatten(0, 1), y.flatten()), long)
    torch.testing.assert_close(torch.tensor(same.weights), torch.tensor([4 / 13, 9 / 13]))


# --- pieces --------------------------------------------------------------------------------------------------


def test_batches_are_cut_only_where_that_is_harmless_on_every_batch():
    zero = network()
    nn.init.zeros_(zero[2].weight)
    nn.init.zeros_(zero[2].bias)  # every sample's loss is log 3 there, whatever the weights
    masked = Y.clone()
    masked[6:8] = -100
    for model in (network(), zero):
        pieces, weights = Objective(model, CE, cut(X, masked, 5)).cut(3)
        assert max(b.samples for b in pieces) == 3
        state = dict(network(4).named_parameters())
        whole = sum(
            w * Objective(model, CE, cut(X, masked, 5)).loss(state, b) for b, w in zip(pieces, weights, strict=True)
        )
        torch.testing.assert_close(whole, CE(network(4)(X), masked))
        later = Objective(model, lambda out, y: CE(out, y) * (1 + (y < 0).any()), cut(X, masked, 5), weights="samples")
        assert later.cut(3) is None
    normalised = nn.Sequential(nn.Linear(WIDTH, 5), nn.BatchNorm1d(5), nn.Linear(5, CLASSES)).double()
    assert Objective(normalised, CE, (X, Y), mode="train").cut(4) is None
    assert len(Objective(normalised.eval(), CE, (X, Y)).cut(4)[0]) == 3


# --- randomness ----------------------------------------------------------------------------------------------


class Noisy(nn.Module):
    def __init__(self):
        super().__init__()
        self.net = network()

    def forward(self, x):
        return self.net(x + torch.randn_like(x))


class Recurrent(nn.Module):
    def __init__(self):
        super().__init__()
        self.cell = nn.LSTM(2, 3, num_layers=2, dropout=0.5, batch_first=True)
        self.out = nn.Linear(3, CLASSES)

    def forward(self, x):
        return self.out(self.cell(x.unflatten(1, (2, 2)))[0][:, -1])


def noisy_loss(out, y):
    return CE(out + torch.rand_like(out), y)


RANDOM = {
    "noise in forward": (Noisy, CE, r"module model \(Noisy\) is random"),
    "dropout of an LSTM": (Recurrent, CE, r"module cell \(LSTM\) is random in train mode.*mode='eval'"),
    "dropout": (lambda: nn.Sequential(nn.Dropout(0.1), network()), CE, r"module 0 \(Dropout\) is random"),
    "noise in the loss": (network, noisy_loss, "loss_fn draws random numbers"),
}


@pytest.mark.filterwarnings("ignore::UserWarning")
@pytest.mark.parametrize("name", RANDOM)
def test_random_losses_are_named_and_have_common_random_numbers_on_request(name):
    make, loss_fn, message = RANDOM[name]
    torch.manual_seed(0)
    model = make().double().train()
    with pytest.raises(InputError, match=message):
        Hessian(model, loss_fn, PARTS, mode="train")
    before = torch.get_rng_state()
    H, again, other = (Hessian(model, loss_fn, PARTS, mode="train", seed=s, weights="samples") for s in (3, 3, 4))
    v = vector(model)
    products = [h @ v for h in (H, H, again, other)]
    assert torch.equal(torch.get_rng_state(), before)
    torch.testing.assert_close(products[0], products[1])
    torch.testing.assert_close(products[0], products[2])
    assert (products[0] - products[3]).norm() > 1e-3 * products[0].norm()

    def whole():
        total = 0.0
        for i, (x, y) in enumerate(PARTS):
            torch.manual_seed(3 + i)
            total = total + loss_fn(model(x), y) * len(x) / N
        return total

    torch.testing.assert_close(products[0], product(whole, model, v))


def test_a_generator_of_its_own_is_noticed():
    g = torch.Generator().manual_seed(0)
    with pytest.raises(InputError, match="two evaluations of the loss on one batch differ"):
        Objective(network(), lambda out, y: CE(out + torch.randn(out.shape, generator=g, dtype=out.dtype), y), PARTS)


def test_random_numbers_drawn_for_nothing_are_no_harm():
    def shuffled(out, y):
        order = torch.randperm(len(y))
        return CE(out[order], y[order])

    model, v = network(), vector(network())
    torch.testing.assert_close(Hessian(model, shuffled, PARTS) @ v, product(lambda: CE(model(X), Y), model, v))


# --- arithmetic, checkpoints, refusals ------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_weights_of_16_bits_are_computed_in_float32(dtype):
    model = network().to(dtype)
    v = vector(model)
    exact = copy.deepcopy(model).double()
    H = Hessian(model, CE, [(X.to(dtype), Y)])
    assert H.dtype == torch.float32
    expected = product(lambda: CE(exact(X.to(dtype).double()), Y), exact, v)
    torch.testing.assert_close((H @ v.float()).double(), expected, rtol=1e-4, atol=1e-5)
    with pytest.raises(InputError, match="16 bits are too few"):
        Hessian(model, CE, [(X, Y)], dtype=dtype)


def test_weights_of_several_precisions_are_computed_in_the_widest():
    model = nn.Sequential(nn.Linear(WIDTH, 5), nn.LayerNorm(5), nn.Linear(5, CLASSES))
    model[0].to(torch.bfloat16)
    assert Objective(model, CE, [(X, Y)]).dtype == torch.float32
    model[2].double()
    assert Objective(model, CE, [(X, Y)]).dtype == torch.float64


@pytest.mark.parametrize("reentrant", [True, False])
@pytest.mark.filterwarnings("ignore:.*linearised:UserWarning")
def test_checkpoints_on_first_layers_lose_nothing(reentrant):
    class Saving(nn.Module):
        def __init__(self):
            super().__init__()
            self.net = network()

        def forward(self, x):
            return self.net[2](checkpoint(lambda z: torch.tanh(self.net[0](z)), x, use_reentrant=reentrant))

    plain = network()
    v = vector(plain)
    for linearise in (True, False):
        H = Hessian(Saving(), CE, [(X, Y)], linearise=linearise)
        torch.testing.assert_close(H @ v, product(lambda: CE(plain(X), Y), plain, v))


REFUSED = {
    "a regressor without a loss": (
        lambda: Objective(nn.Linear(WIDTH, 1).double(), None, (X, X[:, :1])),
        "no loss_fn was given and the model returns none",
    ),
    "one score beside class numbers": (
        lambda: Objective(nn.Linear(WIDTH, 1).double(), None, (X, Y)),
        "no loss_fn was given",
    ),
    "no labels": (lambda: Objective(Named(), None, [{"features": X}]), "labels in the batches"),
    "both forms work": (
        lambda: Objective(network(), lambda a, b: torch.ones((), dtype=torch.float64), (X, Y)),
        "form='output' or form='model'",
    ),
    "an unknown form": (lambda: Objective(network(), CE, (X, Y), form="both"), "form must be 'output'"),
    "unknown weights": (lambda: Objective(network(), CE, PARTS, weights="pixels"), "weights must be 'samples'"),
    "weights that are no numbers": (lambda: Objective(network(), CE, PARTS, weights=lambda b: None), "not a number"),
    "meta": (
        lambda: Objective(nn.Linear(WIDTH, CLASSES, device="meta"), CE, (X, Y)),
        "weight is on the meta device and has no values",
    ),
    "lazy": (lambda: Objective(nn.LazyLinear(3), CE, (X, Y)), "weight has no shape yet"),
    "no module": (lambda: Objective(lambda x: x, CE, (X, Y)), "must be a torch.nn.Module, got function"),
    "a loss that cannot be called": (lambda: Objective(network(), "mse", (X, Y)), "loss_fn must be callable"),
    "a class of losses": (lambda: Objective(network(), nn.CrossEntropyLoss, (X, Y)), "give an instance"),
    "an objective and a loss": (lambda: Hessian(Objective(network(), CE, (X, Y)), CE), "has its loss_fn already"),
    "an objective and a seed": (lambda: Hessian(Objective(network(), CE, (X, Y)), seed=1), "has its seed already"),
    "data of no kind": (lambda: Objective(network(), CE, 3), "batches must be an iterable"),
    "a batch of no kind": (lambda: Objective(network(), CE, [3]), "batch 0 must be a pair"),
    "NaN on a later batch": (
        lambda: Objective(network(), CE, [PARTS[0], (PARTS[1][0] * torch.nan, PARTS[1][1])]),
        "loss on batch 1 is nan: the batch's inputs have NaN",
    ),
    "targets that the loss refuses on a later batch": (
        lambda: Objective(network(), CE, [PARTS[0], (PARTS[1][0], PARTS[1][1] + 9)]),
        "failed on batch 1",
    ),
}


@pytest.mark.parametrize("what", REFUSED)
def test_one_clear_line(what):
    act, message = REFUSED[what]
    with pytest.raises(InputError, match=message) as caught:
        act()
    assert "\n" not in str(caught.value)


def test_no_more_is_read_than_asked_for():
    read = []

    def endless():
        while True:
            read.append(1)
            yield X, Y

    objective = Objective(network(), CE, endless(), samples=30)
    assert [b.samples for b in objective.batches] == [12, 12, 6]
    assert len(read) == 3
    masked = Objective(network(), CE, (X, IGNORED), samples=7)
    torch.testing.assert_close(masked.value(), CE(network()(X[:7]), IGNORED[:7]))


def test_samples_that_hang_together_are_not_cut_apart():
    class AcrossSamples(nn.Module):
        def __init__(self):
            super().__init__()
            self.net = network()

        def forward(self, x):
            return self.net(x - x.mean(0))

    objective = Objective(AcrossSamples(), CE, (X, Y), samples=7)
    assert objective.batches[0].samples == N
    assert "used whole" in objective.notes[0]


def test_convolutions_whose_outputs_are_viewed_are_no_trouble():
    class Viewed(nn.Module):
        def __init__(self, flatten):
            super().__init__()
            torch.manual_seed(0)
            self.conv, self.out, self.flatten = nn.Conv2d(2, 3, 2), nn.Linear(12, CLASSES), flatten

        def forward(self, x):
            return self.out(self.flatten(torch.tanh(self.conv(x))))

    x = torch.randn(5, 2, 3, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    viewed, reshaped = (Viewed(f).double() for f in (lambda h: h.view(len(h), -1), lambda h: h.flatten(1)))
    objectives = [Objective(m, CE, (x, Y[:5])) for m in (viewed, reshaped)]
    assert [o.channels_last for o in objectives] == [False, True]
    a, b = (Hessian(o).dense() for o in objectives)
    torch.testing.assert_close(a, b)


def test_parameters_are_chosen_from_the_users_own_model():
    model = torch.compile(network(), backend="eager")
    inner = model._orig_mod
    expected = Hessian(network(), CE, PARTS, params=["2.weight"]).dense()
    for params in (["2.weight"], ["_orig_mod.2.weight"], [inner[2].weight], inner[2].weight):
        torch.testing.assert_close(Hessian(model, CE, PARTS, params=params).dense(), expected)
    assert Hessian(model, CE, PARTS, params=inner[2]).shape[0] == 18


# --- precision and layout of what is brought -----------------------------------------------------------------


@pytest.mark.parametrize("kind", [torch.float16, torch.bfloat16, torch.float64])
@pytest.mark.parametrize("own", [torch.float32, torch.float64])
def test_batches_of_any_precision_are_taken_in_the_models(kind, own):
    from nonsingular.diagnosis import Protocol, diagnose

    inputs, target = (t.bfloat16().to(own) if t.is_floating_point() else t for t in data(rows=40))
    model = network().to(own)
    H, other = (Hessian(model, F.cross_entropy, (x, target)) for x in (inputs, inputs.to(kind)))
    v = vector(model).to(own)
    assert torch.equal(H @ v, other @ v)
    found = [
        diagnose(model, F.cross_entropy, [(x, target)], steps=2, protocol=Protocol(seeds=2)).to_json()
        for x in (inputs, inputs.to(kind))
    ]
    assert found[0] == found[1]
    assert found[0]["learns"]["rows"]


def test_a_precision_that_the_model_has_is_left_as_it_is():
    mixed = nn.Sequential(nn.Linear(2, 2).half(), nn.Linear(2, 2))
    taken = taken_by(mixed)
    kinds = {t: taken(torch.ones(2, dtype=t)).dtype for t in (torch.float16, torch.float32, torch.bfloat16, torch.int8)}
    assert list(kinds.values()) == [torch.float16, torch.float32, torch.float32, torch.int8]


def test_a_target_that_is_an_entry_of_the_inputs_stays_one_in_another_precision():
    y = torch.ones(3, dtype=torch.float64)
    (batch,) = read({"x": torch.ones(3, 2), "y": y})
    taken = batch.map(taken_by(nn.Linear(2, 1)))
    assert taken.inputs["y"] is taken.target
    assert taken.target.dtype == torch.float32


LAYOUTS = {
    "coo": lambda x: x.to_sparse(),
    "csr": lambda x: x.to_sparse_csr(),
    "csc": lambda x: x.to_sparse_csc(),
    "bsr": lambda x: x.to_sparse_bsr((2, 2)),
}


class FirstSparse(nn.Module):
    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.weight, self.rest = nn.Parameter(torch.randn(WIDTH, 5).double()), nn.Linear(5, CLASSES).double()

    def forward(self, x):
        return self.rest(torch.tanh(x @ self.weight))


@pytest.mark.filterwarnings("ignore:Sparse:UserWarning")
@pytest.mark.parametrize("layout", LAYOUTS)
def test_sparse_inputs_give_the_number_of_dense_ones_or_one_line(layout, tmp_path):
    from nonsingular.diagnosis import diagnose
    from nonsingular.landscape import gaussian, line

    inputs, target = data()
    inputs = inputs * (inputs > 0)
    sparse, model = LAYOUTS[layout](inputs), FirstSparse()
    direction = gaussian(model, 0)
    losses = [
        line(model, F.cross_entropy, [(x, target)], direction, grid=3, keep=tmp_path / f"{i}.npz").loss.values
        for i, x in enumerate((inputs, sparse))
    ]
    assert losses[0] == pytest.approx(losses[1], rel=1e-6)
    with pytest.raises(InputError, match=r"sparse: give them as \.to_dense\(\)"):
        diagnose(model, F.cross_entropy, [(sparse, target)])
    holed = inputs.clone()
    holed[0, 0] = torch.nan
    assert finite((sparse, {"x": inputs}))
    assert not finite([LAYOUTS[layout](holed)])
