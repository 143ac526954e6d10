"""Loops of people's own: every planted mistake is named first, no healthy twin is accused, nothing is left changed."""

import contextlib
import copy
import dataclasses
import inspect
import io
import json
import math
import re
import socket
import warnings
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from torch import nn

import nonsingular as ns
import processes
from nonsingular.diagnosis import rules
from nonsingular.diagnosis.bench.loops import PROGRAMS
from nonsingular.diagnosis.contract.finite import given
from nonsingular.diagnosis.contract.meanings import held_out_ids, held_out_meaning
from nonsingular.diagnosis.course import joined
from nonsingular.diagnosis.loop import Observer, judged, script, tapped
from nonsingular.diagnosis.loop.between import Output
from nonsingular.diagnosis.loop.distances import Distances
from nonsingular.diagnosis.loop.movement import movements
from nonsingular.diagnosis.loop.tape import Tape
from nonsingular.errors import BadData, InputError
from nonsingular.objective import Batch

CASES = [
    pytest.param(program, mistake, id=f"{name}: {mistake.name}")
    for name, program in PROGRAMS.items()
    for mistake in program.mistakes
]


def watched(tmp_path, source, steps=None, look=True, arguments=()):
    path = tmp_path / "train.py"
    path.write_text(source)
    observer = Observer(steps)
    with contextlib.redirect_stdout(io.StringIO()), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        ran = script.run(path, list(arguments), observer)
    found = judged(observer, look)
    assert not any("ended early" in note for note in found.loop.notes), found.loop.notes
    return ran, found


@pytest.mark.parametrize("program", PROGRAMS.values(), ids=list(PROGRAMS))
def test_healthy_loops_are_not_accused(program, tmp_path):
    ran, found = watched(tmp_path, program.source.replace("SEED", "11"))
    assert ran.error is None
    assert not found.findings, str(found)


@pytest.mark.parametrize(("program", "mistake"), CASES)
def test_the_mistake_comes_first(program, mistake, tmp_path):
    _, found = watched(tmp_path, program.broken(mistake).replace("SEED", "11"))
    assert found.findings, "nothing found"
    first = found.findings[0]
    assert first.kind in mistake.kinds, str(found)
    assert first.evidence
    assert first.mechanism
    assert first.remedy
    assert first.where or first.layers


def test_the_line_and_the_parameters_are_named(tmp_path):
    source = PROGRAMS["simple"].source.replace("SEED", "0").replace("        optimizer.zero_grad()\n", "")
    _, found = watched(tmp_path, source)
    line = source.splitlines().index("        loss.backward()") + 1
    assert found.findings[0].where == f"{tmp_path / 'train.py'}:{line}"
    source = PROGRAMS["tagger"].source.replace("SEED", "0").replace("groups.append", "dict")
    source = source.replace('dict({"params": model.head.parameters(), "lr": 5e-3})', "")
    _, found = watched(tmp_path, source)
    assert found.findings[0].layers == ("head.weight", "head.bias")
    line = source.splitlines().index("optimizer = torch.optim.AdamW(groups)") + 1
    assert found.findings[0].where.endswith(f"train.py:{line}")


BETWEEN = """import torch
import torch.nn.functional as F
from torch import nn

torch.manual_seed(0)
x = torch.randn(128, 10)
y = (x @ torch.randn(10, 5)).argmax(1)
model = nn.Sequential(nn.Linear(10, 32), nn.ReLU(), nn.Linear(32, 5))
opt = torch.optim.Adam(model.parameters(), 1e-2)
for i in range(24):
    xb, yb = x[i % 4 :: 4], y[i % 4 :: 4]
    opt.zero_grad()
    loss = LOSS
    loss.backward()
    opt.step()
"""


@pytest.mark.parametrize(
    ("loss", "kind"),
    [
        ("nn.CrossEntropyLoss()(model(xb).softmax(1), yb)", "probabilities-as-logits"),
        ("F.cross_entropy(F.softmax(model(xb), 1), yb)", "probabilities-as-logits"),
        ("F.cross_entropy(torch.sigmoid(model(xb)), yb)", "probabilities-as-logits"),
        ("nn.NLLLoss()(nn.Softmax(dim=-1)(model(xb)), yb)", "probabilities-as-logits"),
        (
            "F.binary_cross_entropy_with_logits(model(xb).sigmoid(), F.one_hot(yb, 5).float())",
            "probabilities-as-logits",
        ),
        ("nn.BCEWithLogitsLoss()(torch.sigmoid(model(xb))[:, 0], (yb > 1).float())", "probabilities-as-logits"),
        ("F.cross_entropy(F.relu(model(xb)), yb)", "output-range"),
        ("F.nll_loss(F.log_softmax(model(xb) / 2, 1), yb)", None),
        ("F.binary_cross_entropy(model(xb).sigmoid()[:, 0], (yb > 1).float())", None),
        ("F.cross_entropy(model(xb), yb)", None),
    ],
)
def test_what_the_script_does_between_model_and_loss(loss, kind, tmp_path):
    source = BETWEEN.replace("LOSS", loss)
    _, found = watched(tmp_path, source)
    assert not any("not looked at" in note for note in found.loop.notes)
    if kind is None:
        assert not found.findings, str(found)
    else:
        assert found.findings[0].kind == kind
        line = source.splitlines().index(f"    loss = {loss}") + 1
        assert found.findings[0].where == f"train.py:{line}"


@pytest.mark.parametrize(
    ("one", "other", "target", "found"),
    [
        ("shuffle=True", "shuffle=True", "b", True),
        ("shuffle=True", "shuffle=False", "b", True),
        ("shuffle=True", "shuffle=True, num_workers=1", "b", True),
        ("shuffle=False", "shuffle=False", "b", False),
        ("sampler=order", "sampler=order", "b", False),
        ("shuffle=True, generator=seeded()", "shuffle=True, generator=seeded()", "b", False),
        ("shuffle=True", "shuffle=True", "model(b.detach())", False),  # domains, no pairs
        ("shuffle=True", "shuffle=True, drop_last=True", "b[: len(a)] * 0", False),  # drawn, and not compared
    ],
)
def test_targets_from_another_loader_than_their_inputs(one, other, target, found, tmp_path):
    source = f"""import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

torch.manual_seed(0)
x = torch.randn(96, 4)
y, order, seeded = x @ torch.randn(4, 4), torch.randperm(96).tolist(), lambda: torch.Generator().manual_seed(3)
model, loss_fn = nn.Linear(4, 4), nn.MSELoss()
opt = torch.optim.Adam(model.parameters(), 1e-2)
inputs, targets = DataLoader(TensorDataset(x), 16, {one}), DataLoader(TensorDataset(y), 16, {other})
for _ in range(2):
    for (a,), (b,) in zip(inputs, targets):
        opt.zero_grad()
        loss_fn(model(a), {target}).backward()
        opt.step()
"""
    seen = watched(tmp_path, source, look=False)[1]
    assert (seen.numbers["loop-loaders-apart"].value == 1) == found
    if found:
        assert seen.findings[0].kind == "misplaced-targets"
        assert seen.findings[0].where.endswith(
            f":{source.splitlines().index('    for (a,), (b,) in zip(inputs, targets):') + 1}"
        )


def test_a_model_with_tensors_that_are_no_leaves_is_looked_at(tmp_path):
    source = BETWEEN.replace("LOSS", "F.cross_entropy(model(xb), yb)").replace(
        "model = nn.Sequential(nn.Linear(10, 32), nn.ReLU(), nn.Linear(32, 5))",
        "model = nn.Linear(10, 5)\nmodel.table = nn.Parameter(0.3 * torch.randn(5, 10)).t()\n"
        "model.forward = lambda x: nn.Linear.forward(model, x) + x @ model.table",
    )
    _, found = watched(tmp_path, source)
    assert not any("not looked at" in note for note in found.loop.notes)
    assert found.findings[0].kind == "unregistered-parameters"
    assert found.findings[0].where == "table"


def test_a_loop_that_learns_nothing_is_not_called_well(tmp_path):
    source = BETWEEN.replace("LOSS", "F.cross_entropy(model(xb), yb)")
    assert str(watched(tmp_path, source)[1]) == "nothing wrong found in the loop"
    model, batches = nn.Linear(6, 2), [(torch.zeros(16, 6), y) for _, y in data()]  # inputs that say nothing
    found = ns.rehearse(model, step, batches, torch.optim.SGD(model.parameters(), lr=0.01))
    assert not found.findings
    best = found.summary()["constant_loss"]
    assert "did not get below that of the best constant" in str(found)
    assert str(found).endswith(f"against {best:.3g}")


def test_an_optimiser_made_before_is_placed_where_the_file_makes_it():
    model = nn.Sequential(nn.Linear(6, 8), nn.ReLU(), nn.Linear(8, 2))
    adam = torch.optim.Adam(model[0].parameters(), lr=1e-3)
    line = inspect.currentframe().f_lineno - 1
    found = ns.rehearse(model, step, data(), adam).findings[0]
    assert found.kind == "optimiser-misses"
    assert found.where.endswith(f"test_loop.py:{line}")
    found = ns.rehearse(model, step, data(), [torch.optim.Adam(model[0].parameters())][0]).findings[0]
    assert (found.kind, found.where) == ("optimiser-misses", "")  # has no name: no place is better than a wrong one


def test_what_stands_between_is_done_again_as_it_was():
    model = nn.Linear(6, 4)
    for between in (
        lambda o: o.softmax(-1), lambda o: F.log_softmax(o / 3, 0), lambda o: o.view(-1, 2, 2).sigmoid(),
        lambda o: o.unsqueeze(1).relu().squeeze(), lambda o: o[:, -1].tanh(), lambda o: F.relu6(o).clamp(min=0.1),
        lambda o: F.logsigmoid(o).exp().clone(),
    ):  # fmt: skip
        out = model(torch.randn(8, 6))
        returned, made = Output(out), between(out)
        again = returned.until(made, None)
        assert again is not None
        torch.testing.assert_close(again(out), made)
        other = model(torch.randn(5, 6))
        torch.testing.assert_close(again(other), between(other))
    for unknown in (lambda o: o * torch.randn(4), lambda o: o + model(torch.randn(8, 6)), lambda o: o.view(-1)):
        out = model(torch.randn(8, 6))
        assert Output(out).until(unknown(out), None) is None
    out = model(torch.randn(8, 6))
    returned, made = Output(out), 3 * out
    made.sum().backward()
    assert returned.until(made, None) is None  # the graph is freed


@pytest.mark.parametrize(
    "loss",
    [
        lambda out, y: ((out[:, 0] - y) ** 2).mean(),
        lambda out, y: (out - y[:, None]).abs().sum() / len(y),
        lambda out, y: -F.log_softmax(out, 1)[torch.arange(len(y)), (y > 0).long()].mean(),
        lambda out, y: F.cross_entropy(out.softmax(1), (y > 0).long()) + 0.1 * out.square().mean(),
        lambda out, y: F.mse_loss(out.view(len(y), -1).sum(1), y.float()),
    ],
)
def test_a_loss_is_read_off_its_calls(loss):
    """The value and the slope are the loss's own, also of other samples and of another number of them."""
    torch.manual_seed(0)
    y, tape = torch.randn(12), Tape()
    out = torch.randn(12, 3, requires_grad=True) * 1.0
    with tape:
        tape.begin(out)
        root = loss(out, y)
        read = tape.read(root)
        tape.end()
    assert read is not None
    assert torch.equal(read.target, y)
    for n in (12, 24):
        other, target = torch.randn(n, 3, requires_grad=True), torch.randn(n)
        parts = [loss(o, t) for o, t in zip(other.split(12), target.split(12), strict=True)]
        wanted = torch.stack(parts).mean()
        torch.testing.assert_close(read.loss(other, target), wanted)
        ours, theirs = (torch.autograd.grad(v, other)[0] for v in (read.loss(other, target), wanted))
        torch.testing.assert_close(ours, theirs)
    few = read.loss(other[:4], target[:4])  # the rows stand for three each
    torch.testing.assert_close(few, loss(other[:4].repeat(3, 1), target[:4].repeat(3)))


def test_a_teacher_that_is_called_after_its_student_is_a_target():
    """Also where its output has a graph, as long as none of the loss's gradient goes there."""
    tape, student, teacher, x = Tape(), nn.Linear(3, 4), nn.Linear(3, 4), torch.randn(8, 3)
    for cut in (True, False):
        with tape:
            out = student(x)
            tape.begin(out, "student")
            tape.pause()
            told = teacher(x)
            tape.resume()
            tape.begin(told, "teacher")
            soft = (told.detach() if cut else told).softmax(1)
            root = F.kl_div(out.log_softmax(1), soft, reduction="batchmean")
            read = tape.read(root)
            tape.end()
        if not cut:
            assert read is None
            continue
        assert read.call == "student"
        assert torch.equal(read.target, told)
        other, target = torch.randn(8, 4), torch.randn(8, 4)
        expected = F.kl_div(other.log_softmax(1), target.softmax(1), reduction="batchmean")
        torch.testing.assert_close(read.loss(other, target), expected)


def test_what_is_more_than_a_loss_of_one_output_is_not_read():
    tape, model, x = Tape(), nn.Linear(3, 2), torch.randn(8, 3)
    kept, former = torch.zeros(()), model(x + 1)
    with tape:
        for made in (
            lambda out: (out - former).square().mean(),  # of two outputs
            lambda out: out.square().mean(),  # nothing to compare with
            lambda out: kept.add_((out - x[:, :2]).square().mean()),  # a sum that grows over steps
        ):
            out = model(x)
            tape.begin(out)
            assert tape.read(made(out)) is None
        out = model(x)
        tape.begin(out)
        for _ in range(3000):  # more than is kept
            out = out + x[:, :2]
        assert tape.read(out.mean()) is None


def test_what_is_measured_of_a_step_is_the_step(tmp_path):
    """Against plain arithmetic: SGD moves by rate times gradient, downhill by rate times its square."""
    torch.manual_seed(0)
    model = nn.Linear(5, 3)
    optimiser = torch.optim.SGD(model.parameters(), lr=0.1)
    observer = Observer()
    with tapped(observer):
        F.mse_loss(model(torch.randn(8, 5)), torch.randn(8, 3)).backward()
        before, gradient = model.weight.detach().clone(), model.weight.grad.clone()
        optimiser.step()
    [update] = observer.finish().updates
    moved = update.parameters[id(model.weight)]
    assert moved.weight == pytest.approx(float(before.norm()))
    assert moved.gradient == pytest.approx(float(gradient.norm()))
    assert moved.moved == pytest.approx(0.1 * float(gradient.norm()), rel=1e-4)
    assert moved.uphill == pytest.approx(-0.1 * float(gradient.norm()) ** 2, rel=1e-4)
    assert moved.inward == pytest.approx(0.1 * float((gradient * before).sum()), rel=1e-3)
    assert update.used == pytest.approx(update.made)


def test_entries_without_gradient_and_entries_that_stayed_are_counted():
    before, gradient = torch.tensor([[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]]), torch.tensor([[0.5, 0, 0], [-2, 3, 1]])
    parameter = nn.Parameter(torch.tensor([[0.5, 2.0, 3.0], [4.0, 2.0, 6.0]]))
    parameter.grad = gradient.t().contiguous().t()
    empty = nn.Parameter(torch.zeros(0))
    moved = movements([parameter, empty], {id(parameter): before, id(empty): torch.zeros(0)})
    found, change = moved[id(parameter)], parameter.detach() - before
    wanted = [before.norm(), change.norm(), gradient.norm(), (gradient * change).sum(), -(before * change).sum()]
    wanted += [2 / 4, 2 / 6, -(before * gradient).sum()]
    assert dataclasses.astuple(found) == pytest.approx([float(number) for number in wanted])
    assert moved[id(empty)].lost == 0
    sparse = torch.sparse_coo_tensor([[0, 0, 1], [1, 1, 2]], [1.0, 2.0, -1.0], (2, 3))
    [found] = movements([parameter], {id(parameter): before}, {id(parameter): sparse}).values()
    assert found.zeros == pytest.approx(4 / 6)


def test_sharpness_is_the_largest_eigenvalue(tmp_path):
    """A linear least-squares fit has the Hessian 2 X'X / N whatever the weights."""
    x = 3 * torch.randn(64, 4, generator=torch.Generator().manual_seed(1))
    model, y = nn.Linear(4, 1, bias=False), torch.randn(64, 1)
    expected = float(torch.linalg.eigvalsh(2 * x.T @ x / 64)[-1])
    found = ns.rehearse(model, step, [(x, y)], torch.optim.SGD(model.parameters(), lr=3 / expected))
    assert found.loop.sharpness == pytest.approx(expected, rel=0.02)
    assert found.findings[0].kind == "step-too-large"
    gentle = ns.rehearse(model, step, [(x, y)], torch.optim.SGD(model.parameters(), lr=1 / expected))
    assert not gentle.findings


def step(model, batch, optimiser):
    optimiser.zero_grad()
    loss = F.mse_loss(model(batch[0]), batch[1])
    loss.backward()
    optimiser.step()
    return loss


def data(n=4):
    torch.manual_seed(5)
    return [(torch.randn(16, 6), torch.randn(16, 2)) for _ in range(n)]


def test_a_rehearsal_leaves_everything_as_it_was():
    model = nn.Sequential(nn.Linear(6, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Dropout(0.3), nn.Linear(8, 2))
    optimiser = torch.optim.Adam(model.parameters(), lr=1e-2)
    batches = data()
    for batch in batches[:2]:
        step(model, batch, optimiser)
    state, moments = copy.deepcopy(model.state_dict()), copy.deepcopy(optimiser.state_dict())
    random, functions = torch.get_rng_state(), (F.mse_loss, torch.autograd.backward, nn.Module.train)
    ns.rehearse(model, step, batches, optimiser)
    assert all(torch.equal(state[k], v) for k, v in model.state_dict().items())
    after = optimiser.state_dict()
    for i, kept in moments["state"].items():
        assert all(torch.equal(kept[k], after["state"][i][k]) for k in kept)
    assert torch.equal(random, torch.get_rng_state())
    assert functions == (F.mse_loss, torch.autograd.backward, nn.Module.train)
    assert model.training


def test_classes_that_do_not_train_are_told_in_a_sentence():
    model = nn.Sequential(nn.Linear(6, 8), nn.BatchNorm1d(8), nn.Dropout(0.3), nn.Linear(8, 2))

    def evaluating(model, batch, optimiser):
        model.eval()
        return step(model, batch, optimiser)

    for module, told in ((model, "BatchNorm1d and Dropout do not do"), (model[:2], "BatchNorm1d does not do its")):
        pairs = [(x, torch.randn(16, 2 if module is model else 8)) for x, _ in data()]
        found = ns.rehearse(module, evaluating, pairs, torch.optim.SGD(module.parameters(), 0.01))
        assert any(told in f.remedy for f in found.findings)


def test_missed_parameters_say_how_often_they_were_looked_at():
    model = nn.Sequential(nn.Linear(6, 8), nn.ReLU(), nn.Linear(8, 2))
    found = ns.rehearse(model, step, data(), torch.optim.SGD(model[2].parameters(), 0.1), steps=60)
    missed = next(f for f in found.findings if f.kind == "optimiser-misses")
    (told,) = [e for e in missed.evidence if "in vain" in e["measure"]]
    assert told["value"] <= 60
    assert ("of those looked at (not all of 60)" in told["measure"]) == (told["value"] < 60)


def test_observing_changes_no_number(tmp_path):
    source = PROGRAMS["mnist"].source.replace("SEED", "3").replace('if __name__ == "__main__":\n    main()', "main()")
    source = source.replace("        scheduler.step()\n", "        scheduler.step()\n    return model.state_dict()\n")
    source = source.replace("\nmain()", "\nresult = main()")
    alone: dict = {}
    exec(compile(source, "alone", "exec"), alone)
    path = tmp_path / "kept.py"
    path.write_text(source + f"\ntorch.save(result, {str(tmp_path / 'weights.pt')!r})\n")
    script.run(path, [], Observer())
    observed = torch.load(tmp_path / "weights.pt", weights_only=True)
    assert all(torch.equal(v, observed[k]) for k, v in alone["result"].items())


def test_a_loss_that_is_not_finite_is_done_again_beside_the_graph_that_waits(tmp_path):
    """Batch normalisation keeps its statistics for its backward pass in evaluation mode: nobody may write to them."""
    source = """import torch
from torch import nn
torch.manual_seed(0)
net = nn.Sequential(nn.Linear(8, 16), nn.BatchNorm1d(16), nn.ReLU(), nn.Linear(16, 3)).eval()
opt = torch.optim.SGD(net.parameters(), lr=1e6)
for i in range(10):
    loss = nn.functional.cross_entropy(net(torch.randn(32, 8)), torch.randint(3, (32,)))
    opt.zero_grad()
    loss.backward()
    opt.step()
"""
    _, found = watched(tmp_path, source)
    assert found.loop.steps == 10
    assert "nan-loss" in [f.kind for f in found.findings]


def test_several_optimisers_functions_and_none_are_rehearsed():
    parts = nn.ModuleList([nn.Linear(6, 4), nn.Linear(4, 2)])

    def both(model, batch, optimisers):
        for o in optimisers:
            o.zero_grad()
        loss = F.mse_loss(model[1](torch.relu(model[0](batch[0]))), batch[1])
        loss.backward()
        for o in optimisers:
            o.step()
        return loss

    pair = [torch.optim.SGD(part.parameters(), lr=0.05) for part in parts]
    assert not ns.rehearse(parts, both, data(), pair).findings
    found = ns.rehearse(parts, lambda m, b, o: both(m, b, o[:1]), data(), pair)
    assert found.findings[0].kind == "step-too-small"  # one is never stepped
    model = nn.Linear(6, 2)
    assert not ns.rehearse(model, step, data(), lambda m: torch.optim.SGD(m.parameters(), lr=0.05)).findings


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"model": 3}, "model must be"),
        ({"step": 3}, "step must be callable"),
        ({"steps": 2}, "steps must be at least 5, got 2: "),
        ({"batches": []}, "batches are empty"),
        ({"batches": 3}, "batches must be an iterable"),
        ({"step": lambda m, b, o: m("no")}, "step 0 fails: TypeError"),
    ],
)
def test_bad_input_of_a_rehearsal(arguments, message):
    model = nn.Linear(6, 2)
    given = {"model": model, "step": step, "batches": data(), "optimiser": torch.optim.SGD(model.parameters(), lr=0.1)}
    with pytest.raises(InputError, match=message):
        ns.rehearse(**{**given, **arguments})


def test_the_page_names_every_kind():
    page = (Path(__file__).parents[2] / "docs" / "howto" / "loop.md").read_text()
    assert {rule.kind for rule in rules.loop.RULES} <= set(re.findall(r"`([a-z-]+)`", page))
    blocks = "\n".join(re.findall(r"```python\n(.*?)```", page, re.S))
    names: dict = {}
    torch.manual_seed(0)
    with contextlib.redirect_stdout(io.StringIO()), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        exec(compile(blocks, "train.py", "exec"), names)
    assert names["found"].findings[0].layers == ("2.weight", "2.bias")
    assert [f.kind for f in names["monitor"].findings] == ["optimiser-misses"]


def test_a_loss_of_the_users_own_is_replayed(tmp_path):
    source = PROGRAMS["denoiser"].source.replace("SEED", "0").replace("def distance(a, b):", "class D(nn.Module):")
    source = source.replace(
        "    return ((a - b).pow(2).flatten(1).sum(1) + 1e-6).sqrt().mean()",
        "    def forward(self, a, b):\n        return (a - b).pow(2).flatten(1).sum(1).sqrt().mean()\ndistance = D()",
    )
    source = source.replace("distance(noisy + net(noisy), x)", "distance(net(x), 0 * x)")
    source = source.replace("optimizer = ", "nn.init.zeros_(net[2].weight), nn.init.zeros_(net[2].bias)\noptimizer = ")
    _, found = watched(tmp_path, source)
    assert found.findings[0].kind == "nan-gradient"
    assert found.findings[0].where.startswith("sqrt at ")


# --- scripts ----------------------------------------------------------------------------------------------------

SHORT = """
import sys
import torch
from helper import width

class Net(torch.nn.Linear):
    pass

if __name__ == "__main__":
    print("arguments", sys.argv[1:], __file__.endswith("train.py"))
    model = Net(width, 1)
    optimiser = torch.optim.SGD(model.parameters(), lr=0.1)
    for i in range(30):
        loss = model(torch.randn(16, width)).square().mean()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    END
"""


def command(folder, *arguments, ending="pass"):
    (folder / "helper.py").write_text("width = 4\n")
    (folder / "train.py").write_text(SHORT.replace("END", ending))
    return processes.run(["watch", "train.py", *arguments], folder, folder, COLUMNS="80")


def test_a_script_runs_as_itself(tmp_path):
    status, out, _ = command(tmp_path, "--epochs", "3", "--", "--steps", "no number", ending="sys.exit(3)")
    assert "arguments ['--epochs', '3', '--steps', 'no number'] True" in out
    assert "30 steps, SGD" in out
    assert "nothing wrong found" in out
    assert status == 3


def test_a_script_that_trains_nothing_is_told_so_in_one_line(tmp_path):
    (tmp_path / "other.py").write_text("import torch\ntorch.nn.Linear(3, 2)(torch.ones(4, 3))\n")
    status, out, _ = processes.run(["watch", "other.py"], tmp_path, tmp_path, COLUMNS="200")
    assert out.strip() == (
        "other.py trained nothing that was seen: no backward pass and no step of an optimiser; give the script that "
        "trains, with its arguments"
    )
    assert status == 2


def test_a_script_that_refuses_its_arguments_has_said_so_itself(tmp_path):
    (tmp_path / "other.py").write_text("import argparse\np = argparse.ArgumentParser()\np.parse_args()\n")
    status, out, said = processes.run(["watch", "other.py", "--", "--rate"], tmp_path, tmp_path, COLUMNS="200")
    assert out.strip() == "other.py ended before it trained anything: its status is 2"
    assert "unrecognized arguments: --rate" in said
    assert status == 2


def test_json_is_all_that_is_printed(tmp_path):
    status, out, said = command(tmp_path, "--steps", "7", "--json", ending="import os; os.system('echo from a child')")
    document = json.loads(out)
    assert document["loop"]["steps"] == 7
    assert document["findings"] == []
    assert document["status"] == status == 0
    assert "arguments []" in said


def test_a_scripts_own_error_is_told_as_its_own(tmp_path, capsys):
    source = PROGRAMS["by hand"].source.replace("SEED", "0") + "\n{}['lost']\n"
    ran, found = watched(tmp_path, source)
    ran.tell()
    told = capsys.readouterr().err
    assert ran.status == 1
    assert "KeyError: 'lost'" in told
    assert "nonsingular/" not in told
    assert found.loop.updates
    assert not found.loop.ended
    assert watched(tmp_path, "raise SystemExit(4)")[0].status == 4
    assert watched(tmp_path, "raise SystemExit")[0].status == 0
    assert watched(tmp_path, "raise SystemExit('words')")[0].status == 1
    with pytest.raises(KeyboardInterrupt):
        watched(tmp_path, "raise KeyboardInterrupt")


def test_a_script_that_raises_is_judged_until_then(tmp_path):
    source = BETWEEN.replace("LOSS", "F.cross_entropy(model(xb), yb)")
    line = source.count("\n", 0, source.index("    opt.step()")) + 2
    ran, found = watched(tmp_path, source + "    if i == 3: [][0]\n")
    raised = f"IndexError: list index out of range at {tmp_path / 'train.py'}:{line}"
    assert ran.status == 1
    assert str(found) == f"nothing wrong found in the loop, until the script raised {raised}"
    assert found.loop.notes[0] == f"the script raised {raised}, after 4 steps: what was seen until then was judged"
    ran, found = watched(tmp_path, source.replace("    opt.zero_grad()\n", "") + "    if i == 10: [][0]\n")
    assert found.findings[0].kind == "gradients-accumulate"
    assert "after 11 steps" in found.loop.notes[0]
    _, found = watched(tmp_path, "1 / 0")
    assert found.empty
    assert found.loop.notes[0].startswith("the script raised ZeroDivisionError: division by zero at")


def test_scripts_that_are_none(tmp_path):
    with pytest.raises(InputError, match="no script"):
        script.run(tmp_path / "none.py", [], Observer())
    (tmp_path / "bad.py").write_text("for")
    with pytest.raises(InputError, match="is not Python"):
        script.run(tmp_path / "bad.py", [], Observer())


def test_a_training_goes_on_whatever_becomes_of_its_observation(tmp_path):
    class Broken(Observer):
        def lost(self, *args):
            raise ZeroDivisionError("ours")

    path, observer = tmp_path / "train.py", Broken()
    path.write_text(PROGRAMS["simple"].source.replace("SEED", "0"))
    ran = script.run(path, [], observer)
    assert ran.error is None
    assert observer.loop.steps == 48  # what else is observed goes on too
    assert ["ours" in note for note in observer.loop.notes] == [True]


def test_workers_and_pickled_classes(tmp_path):
    source = """
import torch, pickle
from torch.utils.data import DataLoader, Dataset

class Squares(Dataset):
    def __len__(self):
        return 64
    def __getitem__(self, i):
        return torch.full((4,), i / 64), torch.tensor([i / 64])

def main():
    model = torch.nn.Linear(4, 1)
    pickle.loads(pickle.dumps(Squares()))
    optimiser = torch.optim.SGD(model.parameters(), lr=0.1)
    for x, y in DataLoader(Squares(), 8, num_workers=2):
        optimiser.zero_grad()
        torch.nn.functional.mse_loss(model(x), y).backward()
        optimiser.step()

if __name__ == "__main__":
    main()
"""
    ran, found = watched(tmp_path, source)
    assert ran.error is None
    assert found.loop.steps == 8
    assert not found.findings


def test_diagnose_takes_the_users_own_step(tmp_path, monkeypatch):
    from nonsingular import cli

    (tmp_path / "mine.py").write_text(
        "import torch\nfrom torch import nn\n"
        "def build():\n    return nn.Sequential(nn.Flatten(), nn.Linear(64, 16), nn.ReLU(), nn.Linear(16, 10))\n"
        "def optimiser(model):\n    return torch.optim.SGD(model[1].parameters(), lr=0.1)\n"
        "def train_step(model, batch, optimiser):\n"
        "    loss = nn.functional.cross_entropy(model(batch[0]), batch[1])\n"
        "    optimiser.zero_grad()\n    loss.backward()\n    optimiser.step()\n    return loss\n"
    )
    monkeypatch.chdir(tmp_path)
    out = io.StringIO()
    with contextlib.redirect_stdout(out):
        assert cli.run(["diagnose", "mine.py:build", "--step", "mine.py:train_step", "--json"]) == 0
    first = json.loads(out.getvalue())["findings"][0]
    assert first["kind"] == "optimiser-misses"
    assert first["layers"] == ["3.weight", "3.bias"]


def test_the_steps_own_loss_and_batches_are_looked_at(tmp_path, monkeypatch):
    """A target without a loss, on data that a step's file has, where only the step knows how they are compared."""
    from nonsingular import cli

    (tmp_path / "net.py").write_text(
        "from torch import nn\ndef build():\n    return nn.Sequential(nn.Linear(6, 16), nn.ReLU(), nn.Linear(16, 1))\n"
    )
    (tmp_path / "mine.py").write_text(
        "import torch\n"
        "def batches():\n    x = torch.randn(128, 6)\n    return [(a, a[:, 0]) for a in x.split(32)]\n"
        "def train_step(model, batch, optimiser):\n"
        "    loss = ((model(batch[0]) - batch[1]) ** 2).mean()\n"
        "    optimiser.zero_grad()\n    loss.backward()\n    optimiser.step()\n    return loss\n"
    )
    monkeypatch.chdir(tmp_path)
    out = io.StringIO()
    with contextlib.redirect_stdout(out):
        assert cli.run(["diagnose", "net.py:build", "--step", "mine.py:train_step", "--json"]) == 0
    found = json.loads(out.getvalue())
    assert [(f["kind"], f["where"]) for f in found["findings"]] == [("shape-mismatch", "mine.py:6")]
    assert "mine.py" in found["data"]["batches"]


GIVEN = """import torch
from torch import nn
torch.manual_seed(0)
x, y = torch.randn(512, 4), torch.randn(512, 1)
PART[500, 0] = float("NUMBER")
model = nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 1))
optimiser = torch.optim.SGD(model.parameters(), lr=0.1)
for a, b in zip(x.split(16), y.split(16)):
    optimiser.zero_grad()
    loss = LOSS
    loss.backward()
    optimiser.step()
"""


@pytest.mark.parametrize("loss", ["nn.functional.mse_loss(model(a), b)", "((model(a) - b) ** 2).mean()"])
@pytest.mark.parametrize(("part", "number"), [("x", "nan"), ("x", "inf"), ("y", "nan")])
def test_data_that_are_not_finite_are_named_with_their_samples(part, number, loss, tmp_path):
    source = GIVEN.replace("PART", part).replace("NUMBER", number).replace("LOSS", loss)
    _, found = watched(tmp_path, source)
    first = found.findings[0]
    assert first.kind == "nan-loss"
    numbers = {e["measure"]: e["value"] for e in first.evidence}
    what = "inputs" if part == "x" else "targets"
    assert first.remedy.startswith(f"In 1 of the 16 samples of this batch {what} are NaN or infinite.")
    assert numbers["number of the first of them in the batch, from 0"] == 4
    assert numbers["first step whose loss is not finite"] == 31
    assert first.where.endswith("train.py:11")
    _, found = watched(tmp_path, source.replace("500", "20"))  # in a batch that the network is looked at with
    assert found.findings[0].remedy.startswith("In 1 of the 16 samples")
    assert "Mend the operation" not in found.findings[0].remedy


def test_infinities_that_hide_are_no_data():
    hidden = torch.zeros(4, 4).masked_fill(torch.ones(4, 4).triu(1).bool(), -math.inf)
    assert given((torch.randn(4, 3), hidden), None) is None
    assert given((torch.randn(4, 3), hidden.abs()), None) is not None


@pytest.mark.parametrize("table", [torch.full((5,), math.nan), torch.tensor(math.inf)])
def test_what_has_no_row_a_sample_is_said_of_no_sample(table):
    found = given((torch.randn(8, 3), table), None)
    assert found.evidence == ()
    assert found.remedy.startswith("The inputs of this batch have NaN or infinite entries, in no row of a sample.")


def test_a_loss_may_read_more_in_one_step_than_in_another(tmp_path):
    """Kept batches are held against each other, whatever they are made of."""
    goal = "goal = (reward, after)[: 1 + _ % 2]; goal = torch.stack(goal).sum(0)"
    for loss in (
        "((value - goal) ** 2).mean()",
        "((value - reward) ** 2).mean() + _ % 2 * ((value - after) ** 2).mean()",
    ):
        watched(tmp_path, VALUES.replace("GOAL", goal).replace("nn.functional.smooth_l1_loss(value, goal)", loss))


def test_weights_that_were_not_finite_before_are_told_so():
    model = nn.Sequential(nn.Linear(4, 2), nn.Linear(2, 1))
    with torch.no_grad():
        model[1].bias.fill_(math.nan)
    batches = [(torch.randn(8, 4), torch.randn(8, 1))] * 2
    found = ns.rehearse(model, step, batches, torch.optim.SGD(model.parameters(), 0.1))
    first = next(f for f in found.findings if f.kind == "nan-loss")
    assert (first.layers, first.where) == (("1",), "1.bias")
    assert "before this batch" in first.remedy


VALUES = """
import torch
from torch import nn
torch.manual_seed(0)
q, frozen = nn.Linear(3, 1), nn.Linear(3, 1)
optimiser = torch.optim.Adam([*q.parameters()], lr=1e-3)
for _ in range(12):
    state, following = torch.randn(2, 64, 3)
    reward, done = torch.randn(64), (torch.rand(64) < 0.1).float()
    with torch.no_grad():
        after = frozen(following)[:, 0]
    value = q(state)[:, 0]
    GOAL
    loss = nn.functional.smooth_l1_loss(value, goal)
    optimiser.zero_grad()
    loss.backward()
    optimiser.step()
"""
ON = "goal = reward + 0.9 * after"


@pytest.mark.parametrize(
    ("goal", "found"),
    [
        (ON, True),
        (f"{ON} * (1 - done)", False),
        (f"done_mask = done; {ON} * (1 - done_mask); del done", False),
        (f"done_mask = 1 - done; {ON} * done_mask; del done", False),
        (f"mask = 1 - done; {ON}; del done", True),
        (f"truncated = done; {ON}", False),  # past the end of the time there is, values do go on
        ("goal = reward.cumsum(0); advantage = (goal - value).detach()", False),  # reward + value, by definition
    ],
)
@pytest.mark.parametrize("loss", ["nn.functional.smooth_l1_loss(value, goal)", "((value - goal) ** 2).mean()"])
def test_goals_that_go_on_past_an_end_are_told_by_their_numbers(goal, loss, found, tmp_path):
    source = VALUES.replace("GOAL", goal).replace("nn.functional.smooth_l1_loss(value, goal)", loss)
    _, seen = watched(tmp_path, source, look=False)
    assert ("wrong-returns" in [f.kind for f in seen.findings]) == found, str(seen)


TWO_NETWORKS = """
import torch
from torch import nn
torch.manual_seed(0)
x = torch.randn(512, 6)
y = (x[:, 0] > 0).long()
teacher, student = (nn.Sequential(nn.Linear(6, width), nn.ReLU(), nn.Linear(width, 2)) for width in (32, 8))
for model in (teacher, student):
    optimiser = torch.optim.Adam(model.parameters(), lr=1e-2)
    for a, b in zip(x.split(32), y.split(32)):
        if model is teacher:
            loss = nn.functional.cross_entropy(model(a)OF_ONE, b)
        else:
            with torch.no_grad():
                soft = (teacher(a) / 2).softmax(1)
            loss = nn.functional.kl_div((model(a) / 2)OF_OTHER, soft, reduction="batchmean")
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
"""


@pytest.mark.parametrize(
    ("one", "other", "found"),
    [
        ("", ".log_softmax(1)", []),
        (".softmax(1)", ".log_softmax(1)", ["train.py:12"]),
        ("", ".softmax(1)", ["train.py:16"]),
    ],
    ids=["neither", "the first", "the second"],
)
@pytest.mark.parametrize("batches", ["zip(x.split(32), y.split(32))", "[(x, y)] * 16"], ids=["batches", "all at once"])
def test_of_networks_trained_one_after_another_each_is_looked_at(batches, one, other, found, tmp_path):
    script = TWO_NETWORKS.replace("zip(x.split(32), y.split(32))", batches)
    _, seen = watched(tmp_path, script.replace("OF_ONE", one).replace("OF_OTHER", other))
    assert [(f.kind, f.where) for f in seen.findings] == [("probabilities-as-logits", where) for where in found]


@pytest.mark.parametrize(("labels", "overruled"), [((0.0, 1.0), True), ((0.0,), False)])
def test_adversaries_that_are_shown_one_label_each_are_not_told_that_all_are_the_same(labels, overruled):
    """What ``diagnose`` finds of the first batch is overruled."""
    torch.manual_seed(0)
    model = nn.ModuleDict({"D": nn.Linear(2, 1), "G": nn.Linear(4, 2)})
    optimisers = [torch.optim.Adam(m.parameters()) for m in model.values()]
    bce = nn.functional.binary_cross_entropy_with_logits

    def step(model, batch, optimisers):
        fake = model["G"](batch)
        for optimiser, outputs, label in zip(optimisers, (fake.detach(), fake), labels, strict=False):
            optimiser.zero_grad()
            bce(model["D"](outputs), torch.full((32, 1), label)).backward()
            optimiser.step()

    seen = ns.rehearse(model, step, [torch.randn(32, 4) for _ in range(8)], optimisers[: len(labels)])
    assert ("constant-targets" in seen.numbers) == overruled
    assert not overruled or math.isnan(seen.numbers["constant-targets"].value)


DISTRIBUTED = """
import torch, torch.distributed as dist
from torch import nn
from torch.utils.data import DataLoader, DistributedSampler, TensorDataset

dist.init_process_group("gloo")
torch.manual_seed(0)
x = torch.randn(256, 6)
data = TensorDataset(x, (x[:, 0] > 0).long())
model = nn.parallel.DistributedDataParallel(nn.Sequential(nn.Linear(6, 16), nn.ReLU(), nn.Linear(16, 2)))
optimiser = torch.optim.SGD(model.parameters(), lr=0.2)
for epoch in range(3):
    for a, b in DataLoader(data, 16, sampler=DistributedSampler(data)):
        CLEAR
        nn.functional.cross_entropy(model(a), b).backward()
        optimiser.step()
dist.destroy_process_group()
"""


@pytest.mark.parametrize(("clear", "kinds"), [("optimiser.zero_grad()", []), ("pass", ["gradients-accumulate"])])
def test_each_process_of_a_distributed_training(clear, kinds, tmp_path):
    (tmp_path / "train.py").write_text(DISTRIBUTED.replace("CLEAR", clear))
    meeting = {"WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(_free_port())}
    for rank in "01":
        (tmp_path / rank).mkdir()
    both = [
        processes.Started(["watch", "train.py", "--json"], tmp_path / rank, tmp_path, RANK=rank, **meeting)
        for rank in "01"
    ]
    for status, out, _ in [p.end() for p in both]:
        assert status == 0
        assert [f["kind"] for f in json.loads(out)["findings"]] == kinds


def _free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


class Heads(nn.Module):
    """Tasks on one body, each with an output of its own."""

    def __init__(self, tasks=3):
        super().__init__()
        self.body = nn.Sequential(nn.Linear(6, 64), nn.ReLU())
        self.heads = nn.ModuleList(nn.Linear(64, 2) for _ in range(tasks))

    def forward(self, x):
        return [head(self.body(x)) for head in self.heads]


@pytest.mark.parametrize(
    ("kept", "found"),
    [
        (lambda losses, i: losses[-1], True),
        (lambda losses, i: sum(losses), False),
        (lambda losses, i: losses[i % 3], False),  # tasks take turns
        (lambda losses, i: losses[i % 2], False),  # and two turns of each show nothing of the third
    ],
)
def test_heads_that_no_loss_reaches_are_told_however_small(kept, found):
    torch.manual_seed(0)
    count = iter(range(1000))

    def several(model, batch, optimiser):
        optimiser.zero_grad()
        loss = kept([F.mse_loss(o, batch[1]) for o in model(batch[0])], next(count))
        loss.backward()
        optimiser.step()
        return loss

    model = Heads()
    seen = ns.rehearse(model, several, data(), torch.optim.Adam(model.parameters(), 1e-3), steps=16)
    first = [f for f in seen.findings if f.kind == "untrained-parameters"]
    assert bool(first) == found, str(seen)
    if found:
        assert first[0].severity == 0.9
        assert set(first[0].layers) == {f"heads.{k}.{what}" for k in (0, 1) for what in ("weight", "bias")}


@pytest.mark.parametrize("last", [True, False])
def test_heads_that_the_loss_leaves_out_are_told_before_any_step(last):
    torch.manual_seed(0)

    def loss(outputs, y):
        losses = [F.mse_loss(o, y) for o in outputs]
        return losses[-1] if last else sum(losses)

    found = [f for f in ns.diagnose(Heads(), loss, data()).findings if f.kind == "untrained-parameters"]
    assert [(f.severity, f.layers) for f in found] == ([(0.9, ("heads.0", "heads.1"))] if last else [])


@pytest.mark.parametrize(("divided_first", "found"), [(False, True), (True, False)])
def test_gradients_that_are_clipped_while_their_loss_is_scaled_are_told(divided_first, found):
    torch.manual_seed(0)
    model, scale = nn.Linear(6, 2), 1024.0

    def scaled(model, batch, optimiser):
        optimiser.zero_grad()
        loss = F.mse_loss(model(batch[0]), batch[1])
        (loss * scale).backward()
        for first in (divided_first, not divided_first):
            if first:
                for p in model.parameters():
                    p.grad.div_(scale)
            else:
                nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimiser.step()
        return loss

    seen = ns.rehearse(model, scaled, data(), torch.optim.SGD(model.parameters(), 0.1), steps=8)
    assert ("clipped-away" in [f.kind for f in seen.findings]) == found, str(seen)


@pytest.mark.parametrize("value", ['np.array(list("abcd"))', "np.array(0.5)", "torch.ones(4, dtype=torch.complex64)"])
def test_rewards_may_be_anything_by_name(value, tmp_path):
    """A name says little of what it holds: what is no row of numbers is passed over, without a warning."""
    source = VALUES.replace("GOAL", f"goal = value.detach() + 1; rewards = dones = {value}; value = value * reward")
    path = tmp_path / "train.py"
    path.write_text("import numpy as np\n" + source)
    observer = Observer()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        script.run(path, [], observer)
    assert (observer.loop.notes, observer.loop.steps) == ([], 12)


def test_a_step_within_a_backward_pass_of_parameters_that_no_module_holds():
    weight = nn.Parameter(torch.ones(3, 2))
    optimiser = torch.optim.SGD([weight], lr=0.1)  # before anybody listens
    weight.register_post_accumulate_grad_hook(lambda _: optimiser.step())
    observer = Observer()
    with tapped(observer):
        for _ in range(3):
            (torch.randn(4, 3) @ weight).square().mean().backward()
    assert (observer.loop.notes, observer.loop.steps) == ([], 3)


def test_a_loss_that_is_summed_up_with_itself_is_followed_once():
    """By all its ways it would be for ever: there are 2 to the power of 60."""
    one, other = nn.Linear(3, 2), nn.Linear(3, 2)
    outputs = [m(torch.randn(4, 3)) for m in (one, other)]
    loss = (outputs[0] - outputs[1]).square().mean()
    for _ in range(60):
        loss = loss + loss
    distances = Distances()
    distances.returned(outputs)
    assert distances.between(loss) == tuple({id(p) for p in m.parameters()} for m in (one, other))


@pytest.mark.parametrize(
    "distance", [F.mse_loss, lambda a, b: F.kl_div(a.log_softmax(1), b.softmax(1), reduction="sum")]
)
@pytest.mark.parametrize(
    ("loss", "taught"),
    [
        (lambda y, one, other, near: near + F.cross_entropy(one, y), True),
        (lambda y, one, other, near: F.cross_entropy(one, y) / 2 + 3 * near, True),
        (lambda y, one, other, near: near + F.cross_entropy(one, y) + F.cross_entropy(other, y), False),
        (lambda y, one, other, near: near, False),  # all that the loss is: told as such
        (lambda y, one, other, near: F.cross_entropy(one, y) + other.mean(), False),
    ],
)
def test_a_side_that_only_a_distance_trains_is_known_beside_other_terms(loss, taught, distance):
    x, y = torch.randn(4, 3), torch.arange(4) % 2
    student, teacher = nn.Linear(3, 2), nn.Linear(3, 2)
    outputs = [student(x), teacher(x)]
    value = loss(y, *outputs, distance(*outputs))
    for _ in range(60):
        value = value + value
    distances = Distances()
    distances.returned(outputs)
    assert distances.taught(value) == ({id(p) for p in teacher.parameters()} if taught else set())


def test_targets_may_be_one_tensor_in_a_batch_and_several_in_another():
    torch.manual_seed(0)
    batches = [(torch.randn(32, 4), torch.randn(32, 2)), (torch.randn(32, 4), (torch.randn(32, 2), torch.randn(32, 2)))]

    def loss(output, target):
        return F.mse_loss(output, target if isinstance(target, torch.Tensor) else sum(target))

    ns.diagnose(nn.Sequential(nn.Linear(4, 8), nn.Tanh(), nn.Linear(8, 2)), loss, batches)
    with pytest.raises(BadData, match="they hold 2 and 3 entries"):
        joined([Batch(x, y, 32) for x, y in batches])


def test_token_ids_without_a_place_have_no_meaning():
    empty = [Batch(torch.zeros(4, 0, dtype=torch.long), torch.arange(4) % 2, 4)]
    assert math.isnan(held_out_ids(empty, empty).value)
    held_out_meaning(empty, empty)


class Walked(nn.Module):
    """A model that counts who looks through its modules, and makes some of its layers anew at each pass."""

    def __init__(self, fresh):
        super().__init__()
        self.body, self.fresh, self.walks = nn.Linear(6, 6), fresh, 0

    def named_modules(self, *args, **named):
        self.walks += not args  # and not within a walk from further out
        return super().named_modules(*args, **named)

    def forward(self, x):
        for _ in range(self.fresh):
            x = nn.Sequential(nn.Tanh(), nn.Identity())(x)
        return self.body(x)


def observed(model, passes=1, steps=6):
    """What was seen of a model that is trained a little, by some backward passes a forward pass."""
    observer = Observer()
    with tapped(observer):
        for _ in range(steps):
            loss = model(torch.randn(4, 6)).square().mean()
            for _ in range(passes):
                loss.backward(retain_graph=True)
    return observer.loop


def test_modules_are_not_looked_through_for_each_that_is_called_nor_at_each_backward_pass():
    walks = []
    for fresh, passes in ((0, 1), (20, 1), (0, 8)):
        model = Walked(fresh)
        observed(model, passes)
        walks.append(model.walks)
    assert 0 < walks[0] == walks[1] == walks[2]


def test_a_layer_that_is_put_in_later_is_the_models_and_one_that_never_is_a_stranger():
    model, other, apart = Walked(0), nn.Linear(6, 6), nn.Linear(6, 6)
    observer = Observer()
    with tapped(observer):
        other(torch.randn(4, 6)).sum().backward()  # it is known before it is put in
        model.forward = lambda x: apart(Walked.forward(model, x))
        for step in range(4):
            if step == 2:
                model.body = nn.Sequential(model.body, other)
            model(torch.randn(4, 6)).square().mean().backward()
    [trainee] = [t for t in observer.loop.trainees if t.module is model]
    assert list(trainee.strangers.values()) == [apart]
    assert trainee.reached == {id(p) for p in (*model.parameters(), *apart.parameters())}


NUMBERS = """import torch
import torch.nn.functional as F

torch.manual_seed(0)
x = torch.randn(192, 5)
y = torch.rand(192, 3) ** 2 + torch.tensor([0.0, 4.0, -4.0])
model = torch.nn.Linear(5, 3)
opt = torch.optim.SGD(model.parameters(), 1e-3)
for i in range(24):
    rows = slice(24 * (i % 8), 24 * (i % 8) + 24)
    opt.zero_grad()
    LOSS.backward()
    opt.step()
"""


@pytest.mark.parametrize(
    "loss", [F.mse_loss, F.l1_loss, F.smooth_l1_loss, F.huber_loss, lambda a, b: F.smooth_l1_loss(a, b, beta=0.1)],
    ids=["mse_loss", "l1_loss", "smooth_l1_loss", "huber_loss", "smooth_l1_loss, beta=0.1"],
)  # fmt: skip
def test_the_best_constant_is_one_a_number_of_the_target_for_any_loss(loss, tmp_path, request):
    name, _, options = request.node.callspec.id.partition(",")
    _, found = watched(tmp_path, NUMBERS.replace("LOSS", f"F.{name}(model(x[rows]), y[rows],{options})"), look=False)
    torch.manual_seed(0)
    torch.randn(192, 5)
    y = torch.rand(192, 3) ** 2 + torch.tensor([0.0, 4.0, -4.0])
    grid = torch.linspace(0, 1, 2001)
    best = sum(
        min(float(loss((a + shift).expand(192), y[:, i])) for a in grid) for i, shift in enumerate((0.0, 4.0, -4.0))
    )
    assert found.summary()["constant_loss"] == pytest.approx(best / 3, rel=2e-3)


@pytest.mark.parametrize(
    "read",
    [
        lambda out: out[:1, 0].detach().numpy(),
        lambda out: out[:1, :1].detach().numpy(),
        lambda out: torch.fft.fft(out.detach(), dim=1)[0, 0].item(),
        lambda out: float(out.detach()[0, :1].sum()),
    ],
    ids=["numpy-axis", "numpy-axes", "complex", "float"],
)
def test_numbers_that_are_read_off_outputs_do_not_stop_the_training(read, recwarn):
    model, tape = nn.Linear(4, 3), Tape()
    out = model(torch.randn(16, 4))
    tape.begin(out)
    with tape:
        read(out)
    assert not recwarn.list
