"""The contract of outputs, loss, targets and data: each mistake is named first, its healthy twin is not accused."""

import inspect
import json
import math
from functools import partial

import pytest
import torch
import torch.nn.functional as F
from torch import nn

import nonsingular as ns
from nonsingular.diagnosis import bench, contract, healthy
from nonsingular.diagnosis.batches import problem
from nonsingular.diagnosis.bench.loops import PROGRAMS
from nonsingular.diagnosis.bench.mistakes import mistakes
from nonsingular.diagnosis.bench.ordinary import ordinary
from nonsingular.diagnosis.bench.pairs import KINDS, Do
from nonsingular.diagnosis.bench.patients import flat, sick
from nonsingular.diagnosis.contract import heads, narrow, probes, scene, terms
from nonsingular.diagnosis.examine import examine
from nonsingular.diagnosis.findings import findings
from nonsingular.diagnosis.look import Budget
from nonsingular.diagnosis.rules import RULES
from nonsingular.diagnosis.rules import contract as contract_rules

SEED = 27_182  # none that limits were measured on
ONE_OF_EACH = list({case.name.rpartition(",")[0]: (case, twin) for case, twin in reversed(mistakes())}.values())
# The habits that come closest to some rule; the bench has all.
CLOSE = (
    "soft targets", "several labels", "some labels ignored", "softmax against one-hot", "linear autoencoder", "graph",
    "bounded actions", "fractions through sigmoid", "tags", "rare class", "coarse features", "contrastive", "counts",
    "learnt loss weight", "ages", "time first by design", "variational autoencoder", "squeeze and excitation",
    "in-batch negatives", "raw readings",
)  # fmt: skip


def batch(count=64, width=6, seed=0):
    x = torch.randn(count, width, generator=torch.Generator().manual_seed(seed))
    return x, x[:, :1] * x[:, 1:2]


def seen(model, loss, pairs):
    return scene(problem(model, loss, pairs, 512))


def diagnosed(model, loss, pairs, **rest):
    return ns.diagnose(model, loss, pairs, curvature=False, **rest)


@pytest.mark.parametrize("case", [case for case, _ in ONE_OF_EACH], ids=lambda case: case.name)
def test_the_planted_mistake_is_named_first(case):
    found = bench.diagnose_case(case, case.network(SEED), SEED)
    assert found, "nothing was found"
    assert found[0].kind in case.expected, [(f.kind, f.severity) for f in found]
    assert found[0].evidence
    assert found[0].mechanism
    assert found[0].remedy or found[0].treatments


@pytest.mark.parametrize("case", [twin for _, twin in ONE_OF_EACH], ids=lambda case: case.name)
def test_the_same_program_without_the_mistake_is_not_accused(case):
    assert [(f.kind, f.evidence) for f in bench.diagnose_case(case, case.network(SEED), SEED)] == []


@pytest.mark.parametrize("case", [c for c in ordinary() if c.name in CLOSE], ids=lambda case: case.name)
def test_ordinary_habits_are_not_accused(case):
    assert [(f.kind, f.evidence) for f in bench.diagnose_case(case, case.network(SEED), SEED)] == []


WITHOUT_PATIENT = {
    "dead-readout": "planted below, where a unit must be held at its bound",
    "degenerate-curvature": "brought about by others: flat directions alone keep no small network from training",
}


@pytest.mark.parametrize("kind", [torch.int32, torch.int64])
def test_whole_numbers_as_targets_of_a_table_are_no_classes_of_nodes(kind):
    """However large they are: prices, times."""
    x = torch.randn(128, 4, generator=torch.Generator().manual_seed(0))
    y = (1e9 + 1e8 * x[:, 0]).to(kind)
    found = ns.diagnose(nn.Linear(4, 1), lambda out, target: (out[:, 0] - target / 1e9).square().mean(), [(x, y)])
    assert not [f for f in found.findings if f.kind == "turned-edges"]


def test_every_kind_of_finding_has_a_patient_in_the_bench():
    cases = [*sick(), *(case for case, _ in mistakes())]
    planted = {kind for case in cases for kind in case.expected}
    looped = {kind for program in PROGRAMS.values() for mistake in program.mistakes for kind in mistake.kinds}
    assert {rule.kind for rule in RULES} - planted - looped == set(WITHOUT_PATIENT)
    assert {rule.kind for rule in contract_rules.RULES} <= planted | set(WITHOUT_PATIENT)
    assert planted | looped <= {rule.kind for rule in RULES}  # none is planted that no rule knows
    assert len({case.name.rpartition(",")[2] for case, _ in mistakes()}) >= 6  # kinds of network


def test_the_line_of_the_mistake_is_said():
    def loss(output, target):
        return (output[:, 0] - target).pow(2).mean()

    line = inspect.getsourcelines(loss)[1] + 1
    x, y = batch()
    [found] = diagnosed(nn.Sequential(nn.Linear(6, 16), nn.ReLU(), nn.Linear(16, 1)), loss, [(x, y)]).findings
    assert (found.kind, found.where) == ("shape-mismatch", f"test_contract.py:{line}")
    assert [e["value"] for e in found.evidence] == [64 * 64, 64]


def test_a_nan_in_the_backward_pass_is_named_by_operation_and_line():
    def loss(output, target):
        return (output - target).square().sum().sqrt()

    line = inspect.getsourcelines(loss)[1] + 1
    model = nn.Sequential(nn.Linear(6, 16), nn.ReLU(), nn.Linear(16, 1))
    nn.init.zeros_(model[2].weight)
    nn.init.zeros_(model[2].bias)
    x, _ = batch()
    found = diagnosed(model, loss, [(x, torch.zeros(64, 1))]).findings[0]
    assert (found.kind, found.where) == ("nan-gradient", f"sqrt at test_contract.py:{line}")
    assert any(e["measure"].startswith("the loss, which is finite") and e["value"] == 0 for e in found.evidence)


def test_a_nan_of_the_loss_is_not_laid_on_the_layers():
    def loss(output, target):
        return -(target * torch.log(torch.sigmoid(5000 * output).clamp(1e-50, 1))).mean()

    line = inspect.getsourcelines(loss)[1] + 1
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(6, 16), nn.ReLU(), nn.Linear(16, 1))
    found = diagnosed(model, loss, [(batch()[0], torch.ones(64, 1) * torch.rand(64, 1))]).findings
    assert (found[0].kind, found[0].where) == ("nan-loss", f"test_contract.py:{line}")
    assert "exploding-signal" not in [f.kind for f in found]


def test_an_overflow_of_the_network_stays_an_exploding_signal():
    torch.manual_seed(0)
    layers = [m for _ in range(30) for m in (nn.Linear(16, 16), nn.ReLU())]
    model = nn.Sequential(nn.Linear(6, 16), *layers, nn.Linear(16, 1))
    with torch.no_grad():
        for p in model.parameters():
            p.mul_(1e3)
    found = diagnosed(model, F.mse_loss, [batch()]).findings
    assert found[0].kind == "exploding-signal"
    assert "nan-loss" not in [f.kind for f in found]


@pytest.mark.parametrize("size", [1, 2, 3])
def test_batches_of_few_samples_are_judged_like_the_same_samples_in_one(size):
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(6, 16), nn.ReLU(), nn.Linear(16, 16), nn.ReLU(), nn.Linear(16, 1))
    x, y = batch(60)
    whole = diagnosed(model, F.mse_loss, [(x, y)])
    cut = diagnosed(model, F.mse_loss, list(zip(x.split(size), y.split(size), strict=True)))
    assert [f.kind for f in cut.findings] == [f.kind for f in whole.findings] == []
    for a, b in zip(whole.layers, cut.layers, strict=True):
        assert (a.spread, a.signal, a.gradient) == pytest.approx((b.spread, b.signal, b.gradient), rel=1e-5)


def test_a_readout_unit_that_never_leaves_its_bound_is_dead():
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(6, 32), nn.Tanh(), nn.Linear(32, 4), nn.ReLU())
    with torch.no_grad():
        model[2].bias[:2] = -50.0
    x, _ = batch()
    found = diagnosed(model, F.mse_loss, [(x, x[:, :4].abs())]).findings[0]
    assert (found.kind, found.layers) == ("dead-readout", ("3",))
    assert found.evidence[0]["value"] == 0.5


@pytest.mark.parametrize(
    ("loss", "kind", "remedy"),
    [
        (F.cross_entropy, "probabilities-as-logits", "Take softmax out"),
        (lambda o, y: F.nll_loss(o, y), "probabilities-as-logits", "log_softmax over axis 1"),
        (lambda o, y: F.mse_loss(o, F.one_hot(y, 3).float()), "samples-mixed", "over the classes' axis"),
        (lambda o, y: F.binary_cross_entropy(o, F.one_hot(y, 3).float()), "samples-mixed", "over the classes' axis"),
    ],
)
def test_a_softmax_over_the_batch_has_one_remedy_by_what_the_loss_takes(loss, kind, remedy):
    torch.manual_seed(0)
    x = torch.randn(64, 6)
    model = nn.Sequential(nn.Linear(6, 3), nn.Softmax(0))
    found = diagnosed(model, loss, [(x, x[:, :3].argmax(1))]).findings
    about = [f for f in found if f.where == "1"]
    assert about[0] == found[0]
    assert about[0].kind == kind
    assert all(remedy in f.remedy for f in about)
    assert all(f.because == kind for f in about[1:])


def test_targets_that_the_loss_makes_probabilities_of_are_taken():
    torch.manual_seed(0)
    x, y = torch.randn(64, 6), torch.randn(64, 3)
    loss = lambda o, t: F.kl_div(o.log_softmax(1), t.softmax(1), reduction="batchmean")  # noqa: E731
    assert not diagnosed(nn.Linear(6, 3), loss, [(x, y)]).findings
    raw = lambda o, t: F.kl_div(o.log_softmax(1), t, reduction="batchmean")  # noqa: E731
    assert "invalid-targets" in [f.kind for f in diagnosed(nn.Linear(6, 3), raw, [(x, y)]).findings]


def test_leakage_counts_the_held_out_samples_that_were_trained_on():
    x, y = batch(100)
    other, answers = batch(40, seed=1)
    model = nn.Sequential(nn.Linear(6, 16), nn.ReLU(), nn.Linear(16, 1))
    assert not diagnosed(model, F.mse_loss, [(x, y)], held_out=[(other, answers)]).findings
    mixed = torch.cat([other, x[:10]]), torch.cat([answers, y[:10]])
    [found] = diagnosed(model, F.mse_loss, [(x, y)], held_out=[mixed]).findings
    assert found.kind == "bad-data"
    assert found.evidence[0]["value"] == pytest.approx(0.2)


def test_weights_in_a_list_are_named_as_python_writes_them():
    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.first, self.rest = nn.Linear(6, 8), [[nn.Linear(8, 8)], {"out": nn.Linear(8, 1)}]

        def forward(self, x):
            return self.rest[1]["out"](torch.relu(self.rest[0][0](torch.relu(self.first(x)))))

    found = diagnosed(Net(), F.mse_loss, [batch()]).findings[0]
    assert found.kind == "unregistered-parameters"
    assert "rest[0][0].weight" in found.where
    assert found.evidence[0]["value"] == pytest.approx((72 + 9) / (56 + 72 + 9))


def test_a_model_without_parameters_names_the_list_that_hides_them():
    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.layers = [nn.Linear(6, 1)]

        def forward(self, x):
            return self.layers[0](x)

    with pytest.raises(ValueError, match=r"self\.layers is a plain list"):
        diagnosed(Net(), F.mse_loss, [batch()])


@pytest.mark.parametrize(
    ("after", "bounds"),
    [
        (lambda x: torch.sigmoid(x), (0, 1)),
        (lambda x: 3 - 2 * torch.tanh(x).view(-1, 1), (1, 5)),
        (lambda x: x.clamp(-2, 7)[:, :1], (-2, 7)),
        (lambda x: -F.relu(x) / 4, (-math.inf, 0)),
        (lambda x: F.hardtanh(x, -0.5, 0.5), (-0.5, 0.5)),
        (lambda x: F.relu(x) + x, (-math.inf, math.inf)),
        (lambda x: x, (-math.inf, math.inf)),
    ],
)
def test_bounds_of_the_output_are_those_of_its_last_operations(after, bounds):
    torch.manual_seed(0)
    one = seen(nn.Sequential(nn.Linear(6, 1), Do(after)), F.mse_loss, [batch()])
    assert heads.interval(one, one.output) == bounds
    assert bounds[0] <= float(one.output.min())
    assert float(one.output.max()) <= bounds[1]


@pytest.mark.parametrize("kind", KINDS)
def test_an_affine_network_is_told_from_one_that_is_nearly_so(kind):
    body, data = KINDS[kind]
    torch.manual_seed(0)
    value = probes.affine(seen(body(10), F.cross_entropy, data(0, 64))).value
    assert -1 < value < 2  # decades: healthy networks are far from affine
    x, y = batch()
    flatter = nn.Sequential(nn.Linear(6, 8), Do(lambda h: h + 1e-2 * h.square()), nn.Linear(8, 1))
    straight = nn.Sequential(nn.Linear(6, 8), nn.Linear(8, 1))
    near, exact = (probes.affine(seen(m, F.mse_loss, [(x, y)])).value for m in (flatter, straight))
    assert near < 3 < 5 < exact


def test_the_contract_leaves_model_gradients_and_random_states_alone():
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(6, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Dropout(0.5), nn.Linear(8, 1))
    model[1].eval()
    state = {k: v.clone() for k, v in model.state_dict().items()}
    random_state, modes = torch.get_rng_state(), [m.training for m in model.modules()]
    contract.statistics(problem(model, F.mse_loss, [batch()], 512))
    assert all(torch.equal(v, state[k]) for k, v in model.state_dict().items())
    assert torch.equal(random_state, torch.get_rng_state())
    assert modes == [m.training for m in model.modules()]
    assert all(p.grad is None for p in model.parameters())
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in model.modules())


def test_findings_of_the_contract_are_valid_json_with_remedy_and_place():
    model = nn.Sequential(nn.Linear(64, 10), nn.Softmax(1))
    document = json.loads(json.dumps(diagnosed(model, F.cross_entropy, flat(0)).to_json(), allow_nan=False))
    first = document["findings"][0]
    assert first["kind"] == "probabilities-as-logits"
    assert first["where"] == "1"
    assert "softmax" in first["remedy"]
    assert all(isinstance(e["value"], int | float) and isinstance(e["measure"], str) for e in first["evidence"])


def test_the_unit_of_the_loss_changes_no_finding_of_the_contract():
    for case, _ in ONE_OF_EACH[::6]:
        network = case.network(SEED)
        one = contract.statistics(problem(network, case.loss, case.data(SEED), 512))
        loss = lambda output, target, case=case: 1000 * case.loss(output, target)  # noqa: E731
        two = contract.statistics(problem(network, loss, case.data(SEED), 512))
        known = {k: v.value for k, v in two.items()}
        assert {k: v.value for k, v in one.items()} == pytest.approx(known, rel=1e-4, nan_ok=True)


@pytest.mark.parametrize(
    ("tower", "mixes"), [(lambda z: z, False), (lambda z: z - z.mean(0), True), (lambda z: z.softmax(0), True)]
)
def test_similarities_of_all_samples_mix_them_by_design_but_their_towers_must_not(tower, mixes):
    towers = next(case for case in ordinary() if case.name == "in-batch negatives")
    network = towers.network(SEED)
    network.left.append(Do(tower))
    kinds = [f.kind for f in diagnosed(network, towers.loss, towers.data(SEED)).findings]
    assert ("samples-mixed" in kinds) is mixes, kinds


@pytest.mark.parametrize("offset", [0.0, 1000.0])
@pytest.mark.parametrize("activation", [nn.ReLU, nn.Identity])
def test_networks_with_batch_normalisation_are_judged_as_they_train(offset, activation):
    """By statistics of the data: at those of the start no rectifier may ever switch; both stay as they were."""
    torch.manual_seed(0)
    model = nn.Sequential(nn.BatchNorm1d(6), nn.Linear(6, 32), nn.BatchNorm1d(32), activation(), nn.Linear(32, 4))
    x, y = batch()
    model(offset + x)  # which moves them a tenth of the way
    before = {name: t.clone() for name, t in model.state_dict().items()}
    traced = seen(model, F.cross_entropy, [(offset + x, y[:, 0].gt(0).long())])
    assert (probes.affine(traced).value > 4) is (activation is nn.Identity)
    assert all(torch.equal(t, before[name]) for name, t in model.state_dict().items())
    assert [m.momentum for m in model.modules() if isinstance(m, nn.BatchNorm1d)] == [0.1, 0.1]


@pytest.mark.parametrize(
    ("normalise", "told"),
    [
        (lambda s: s.softmax(-1), True),
        (lambda s: F.log_softmax(s, 2), True),
        (lambda s: F.normalize(s, dim=-1), True),
        (lambda s: (s - s.mean(2, keepdim=True)) / (s.var(2, keepdim=True, correction=0) + 1e-5).sqrt(), True),
        (lambda s: s.softmax(1), False),
        (lambda s: (s - s.mean(1, keepdim=True)) / s.std(dim=1, keepdim=True), False),
        (lambda s: torch.stack([s[:, : i + 1].softmax(1)[:, 0] for i in range(8)], 1), False),  # grows from one entry
    ],
)
def test_what_is_normalised_over_one_entry_is_told_by_its_line(normalise, told):
    torch.manual_seed(0)
    score = nn.Linear(8, 1)
    model = nn.Sequential(Do(lambda x: (normalise(score(x)) * x).sum(1)), nn.Linear(8, 10))
    model[0].score = score
    [(x, y)] = KINDS["rnn"][1](SEED)
    value = narrow.lonely(seen(model, F.cross_entropy, [(x, y)]))
    assert (value.value == 1) is told
    assert value.where.startswith("test_contract.py:") is told


class Mixture(nn.Module):
    """Experts, and a gate between them."""

    def __init__(self, experts):
        super().__init__()
        self.experts = nn.ModuleList(nn.Sequential(nn.Linear(64, 32), nn.ReLU()) for _ in range(experts))
        self.gate, self.head = nn.Linear(64, experts), nn.Linear(32, 10)

    def forward(self, x):
        shares = self.gate(x).softmax(-1)
        return self.head(sum(shares[:, i : i + 1] * expert(x) for i, expert in enumerate(self.experts)))


@pytest.mark.parametrize("experts", [1, 2])
@pytest.mark.parametrize("sick", [False, True])
def test_a_mixture_of_one_expert_is_a_remark(experts, sick):
    torch.manual_seed(0)
    batches = KINDS["mlp"][1](SEED)
    if sick:  # what is inferred comes before a remark
        batches = [(1000 * x, y) for x, y in batches]
    found = ns.diagnose(Mixture(experts), F.cross_entropy, batches, curvature=False).findings
    remarks = [f for f in found if f.kind == "degenerate-normalisation"]
    assert len(remarks) == (experts == 1)
    assert all(f.severity < 0.2 and "one expert" in f.remedy for f in remarks)
    assert any(f.severity >= 0.2 for f in found) is sick
    if sick:
        assert found[0] not in remarks


@pytest.mark.parametrize(
    ("loss", "value", "severity"),
    [
        (F.binary_cross_entropy_with_logits, 1.0, 0.15),  # an adversary's goal
        (F.binary_cross_entropy_with_logits, 0.9, 0.15),
        (F.mse_loss, 0.0, 0.15),  # a residual's
        (F.mse_loss, 3.7, 0.9),
    ],
)
def test_one_number_for_a_target_may_be_a_goal(loss, value, severity):
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(6, 16), nn.ReLU(), nn.Linear(16, 1))
    traced = seen(model, loss, [(batch()[0], torch.full((64, 1), value))])
    told = {
        name: check(traced) for name, check in contract.CHECKS.items() if name in ("constant-targets", "constant-goal")
    }
    assert [f.severity for f in findings(told, healthy.limits())] == [severity]


class Factors(nn.Module):
    """Of users and things, by what reads them."""

    def __init__(self, how):
        super().__init__()
        self.how, self.table, self.rest = how, nn.Parameter(torch.randn(40, 3)), nn.Linear(3, 1)
        self.first = nn.Linear(40, 3) if how == "one-hot" else None

    def forward(self, u):
        if self.how == "one-hot":
            return self.rest(self.first(F.one_hot(u, 40).float()))
        if self.how == "shared":
            return self.rest(self.table[u]) + (self.table[u] @ self.table.t()).mean(1, keepdim=True)
        return self.rest(F.embedding(u, self.table) if self.how == "embedding" else self.table[u])


@pytest.mark.parametrize(
    ("how", "tables"),
    [("embedding", ("table",)), ("index", ("table",)), ("one-hot", ("first.weight",)), ("shared", ())],
)
def test_tables_of_which_samples_read_few_rows_do_not_count_as_flat(how, tables):
    torch.manual_seed(0)
    u = torch.randint(0, 40, (64,))
    model, y = Factors(how), torch.randn(64, 1)
    look, numbers = examine(model, F.mse_loss, [(u, y)], Budget(samples=64), curvature=True)
    assert look.looked_up == tables
    counts, own = look.spectrum, sum(p.size for p in look.parameters if p.name not in tables)
    assert numbers["flat"].value == pytest.approx(max(0, 1 - (counts.positive.count + counts.negative.count) / own))


@pytest.mark.parametrize("samples", [1, 4, 64])
def test_a_term_about_few_samples_counts_by_their_share(samples):
    """A boundary condition beside a residual; a term about all samples is a rival."""
    torch.manual_seed(0)
    model, (x, y) = nn.Linear(6, 1), batch()

    def loss(output, target, about):
        return (output - target).square().mean() + output[:about].square().sum()

    def norm(value):
        return math.sqrt(sum(float(g.square().sum()) for g in torch.autograd.grad(value, list(model.parameters()))))

    value = terms.one_sided(seen(model, partial(loss, about=samples), [(x, y)])).value
    ratio = norm(model(x)[:samples].square().sum()) / norm((model(x) - y).square().mean())
    assert value == pytest.approx(math.log10(samples / 64 * ratio), rel=1e-4)


def test_a_heavy_divergence_is_a_rival_whatever_its_least_value():
    """It holds all that samples can hand on, so that its being zero leaves nothing to the other term."""
    case = next(c for c in ordinary() if c.name == "variational autoencoder")
    traced = seen(case.network(SEED), lambda out, y: 1e4 * case.loss(out, y), case.data(SEED))
    assert terms._concerned(traced, traced.loss) == 1
