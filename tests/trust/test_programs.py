"""Programs put together at random: the right number or one line, and the reference itself."""

import json
import sys

import pytest
import torch
import torch.nn.functional as F
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from torch import nn

from nonsingular import cli
from nonsingular.errors import InputError
from nonsingular.trust import CHECKS, Program, Verdict, bench, checks, judged, program, runs, seeded
from nonsingular.trust.reference import Reference

FAULTS = ("wrong", "crashed")


@settings(max_examples=5, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
@given(st.data())
def test_every_number_is_right_or_refused(data):
    made = program(lambda choices: data.draw(st.sampled_from(choices)))
    if runs(made):
        two = [data.draw(st.sampled_from(list(CHECKS))) for _ in range(2)]
        assert [v for v in judged(made, two) if v.outcome in FAULTS] == []


def test_one_seed_one_program():
    assert seeded(3).words == seeded(3).words
    assert len({seeded(s).words for s in range(20)}) == 20


@pytest.fixture
def small():
    model = nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 2)).double()
    batches = [(torch.randn(n, 3, dtype=torch.float64), torch.randn(n, 2, dtype=torch.float64)) for n in (2, 3)]
    return Program(model, F.mse_loss, batches, "mean", lambda batch: float(len(batch[1])), "by hand")


def test_the_reference_is_the_second_derivative(small):
    """Of all five samples at once, however they are cut into batches."""
    x, y = (torch.cat([b[i] for b in small.batches]) for i in (0, 1))
    names, parameters = zip(*small.model.named_parameters(), strict=True)

    def loss(*p):
        return F.mse_loss(torch.func.functional_call(small.model, dict(zip(names, p, strict=True)), x), y)

    blocks = torch.autograd.functional.hessian(loss, parameters)
    n = len(parameters)
    sizes = [p.numel() for p in parameters]
    rows = [torch.cat([blocks[i][j].reshape(sizes[i], sizes[j]) for j in range(n)], 1) for i in range(n)]
    torch.testing.assert_close(Reference(small).hessian(), torch.cat(rows))


def test_the_reference_does_not_believe_an_asymmetric_second_derivative():
    model = nn.Sequential(nn.utils.parametrizations.weight_norm(nn.Linear(3, 3)), nn.Tanh(), nn.Linear(3, 1)).double()
    data = [(torch.randn(4, 3, dtype=torch.float64), torch.randn(4, 1, dtype=torch.float64))]
    found = Reference(Program(model, F.mse_loss, data, "mean", None, "weight norm")).hessian()
    torch.testing.assert_close(found, found.T, atol=1e-7, rtol=0)


def test_the_reference_stays_on_the_side_of_the_gradient_at_a_kink():
    model = nn.Sequential(nn.Linear(3, 4), nn.PReLU(), nn.Linear(4, 2)).double()
    data = [(torch.randn(5, 3, dtype=torch.float64), torch.randn(5, 2, dtype=torch.float64))]
    nn.init.zeros_(model[0].weight)
    found = []
    for bias in (0.0, -1e-9):
        nn.init.constant_(model[0].bias, bias)
        found.append(Reference(Program(model, F.mse_loss, data, "mean", None, "PReLU")).hessian())
    torch.testing.assert_close(*found, atol=1e-6, rtol=1e-6)


@pytest.mark.parametrize(
    ("spoil", "outcome"),
    [
        (lambda case: checks.alike(torch.ones(2), torch.tensor([1.0, 1.1]), case.tolerance, "numbers"), "wrong"),
        (lambda case: case.program.model[0].weight.data.add_(1), "wrong"),
        (lambda case: case.program.model[0].register_forward_hook(print), "wrong"),
        (lambda case: case.program.batches[0][0].add_(1), "wrong"),
        (lambda case: 1 / 0, "crashed"),
        (lambda case: _refuse("a line"), "refused"),
        (lambda case: _refuse("many words " * 200), "wrong"),
        (lambda case: None, "right"),
    ],
)
def test_faults_are_seen(small, monkeypatch, spoil, outcome):
    monkeypatch.setattr(checks, "CHECKS", {"spoiled": spoil})
    (verdict,) = judged(small, ["spoiled"])
    assert isinstance(verdict, Verdict)
    assert verdict.outcome == outcome


def _refuse(words):
    raise InputError(words)


@pytest.mark.parametrize("name", ["Hessian products", "exact counts", "eigenpairs", "trace", "line and surface"])
def test_a_wrong_hessian_or_loss_does_not_pass(small, monkeypatch, name):
    """Each check fails where the reference is that of another loss."""
    other = Program(small.model, lambda z, y: 2 * F.mse_loss(z, y) + z.pow(4).mean(), small.batches, "mean",
                    small.mass, "another loss")  # fmt: skip
    case = checks.Case(small)
    monkeypatch.setattr(checks, "Reference", lambda program, **given: Reference(other, **given))
    with pytest.raises(checks.Wrong):
        CHECKS[name](case)


def test_a_killed_bench_goes_on_and_parts_are_one(tmp_path, monkeypatch):
    asked = []
    judge = lambda p: asked.append(p.words) or [Verdict("trace", "refused", "no")]  # noqa: E731
    monkeypatch.setattr(sys.modules[bench.__module__], "judged", judge)
    parts = [tmp_path / name for name in "ab"]
    for i, part in enumerate(parts):
        bench(range(3 * i, 3 * i + 3), keep=part)
    whole, judged_before = tmp_path / "whole", len(asked)
    whole.write_text("".join(part.read_text() for part in parts)[:-9])  # killed while it wrote the last line
    found = bench(range(6), keep=whole)
    assert asked[judged_before:] == [seeded(5).words] * runs(seeded(5))
    assert found.to_json() == bench(range(6)).to_json()
    assert found.programs == sum(runs(seeded(s)) for s in range(6))


def test_verdicts_of_other_code_and_files_of_others_are_refused_and_stay(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(sys.modules[bench.__module__], "judged", lambda p: [Verdict("trace", "right")])
    path = tmp_path / "kept"
    bench([0], keep=path)
    line = path.read_text()
    row = json.loads(line)
    without = [json.dumps({k: v for k, v in row.items() if k != key}) + "\n" for key in row]
    for other in (*without, line.replace("trace", "no check"), "[1]\n", "something else\n", "something else"):
        path.write_text(other)
        with pytest.raises(InputError, match="no judged programs"):
            bench([0], keep=path)
        assert path.read_text() == other
    path.write_text(line + line.replace("nonsingular ", "nonsingular 0.").replace('"seed": 0', '"seed": 1'))
    capsys.readouterr()
    assert cli.run(["bench-trust", "--models", "1", "--keep", str(path)]) == 2
    told = capsys.readouterr().err
    assert "was judged by nonsingular 0." in told
    assert len(told.strip().splitlines()) == 1


def test_command(capsys):
    assert cli.run(["bench-trust", "--models", "1", "--json"]) == 0
    assert '"faults": []' in capsys.readouterr().out
    assert cli.run(["bench-trust", "--models", "0"]) == 2
