"""Rates of the machine: measured once, kept, and what follows from them."""

import json
import sys

import pytest
import torch

from nonsingular import machine
from nonsingular.cli import options, run
from nonsingular.experiments.overrides import Overrides
from nonsingular.machine import Machine, Rate
from nonsingular.training import TrainingSpec

CPU = torch.device("cpu")


@pytest.fixture(autouse=True)
def _quick(monkeypatch, tmp_path):
    monkeypatch.setenv("NONSINGULAR_CACHE", str(tmp_path))
    monkeypatch.setattr(machine, "ROUNDS", 2)
    monkeypatch.setattr(machine, "SHORTEST", 0.001)


def with_gain(gain, threads=1, parallel=1.0):
    works = {"matrix float32": 100.0, "matrix bfloat16": 100 * gain, "convolution float32": 80.0}
    works |= {"convolution bfloat16": 80 * gain, "memory": 10.0, "matrix float32, one thread": 100 / parallel}
    return Machine("cpu", "some", "AVX2", 4, threads, "2", {k: Rate(v, v, v) for k, v in works.items()})


def test_rates_are_measured_once_and_again_when_asked(monkeypatch):
    assert machine.known(CPU) is None
    first = machine.machine(CPU)
    assert all(0 < r.low <= r.value <= r.high for r in first.rates.values())
    assert {"matrix float32", "matrix bfloat16", "convolution float32", "convolution bfloat16", "memory"} <= {
        *first.rates
    }
    assert machine.machine(CPU) == machine.known(CPU) == first
    monkeypatch.setattr(machine, "measured", lambda here, device: with_gain(2))
    assert machine.machine(CPU) == first
    assert machine.machine(CPU, again=True) == with_gain(2)


def test_a_rate_is_the_work_over_its_time(monkeypatch):
    clock = iter(range(10**6))
    monkeypatch.setattr(machine.time, "perf_counter", lambda: 0.5 * next(clock))
    monkeypatch.setattr(machine, "_works", lambda device: {"memory": (3e9, lambda: None)})
    found = machine.measured(machine.describe(CPU), CPU)
    assert found.rates["memory"] == Rate(6.0, 6.0, 6.0)  # 3e9 bytes in half a second


def test_threads_are_as_they_were():
    before = torch.get_num_threads()
    with machine._threads(1):
        assert torch.get_num_threads() == 1
    assert torch.get_num_threads() == before


@pytest.fixture
def measured(monkeypatch):
    """Which times the rates were measured, without the seconds that it takes."""
    times = []

    def measure(here, device):
        times.append(len(times))
        return machine.Machine(**{**vars(here), "rates": with_gain(2).rates})

    monkeypatch.setattr(machine, "measured", measure)
    return times


@pytest.mark.usefixtures("measured")
def test_another_torch_or_number_of_threads_is_another_machine(monkeypatch):
    machine.machine(CPU)
    assert machine.known(CPU) is not None
    monkeypatch.setattr(torch, "get_num_threads", lambda: 99)
    assert machine.known(CPU) is None


@pytest.mark.parametrize("content", ["", "{}", '{"rates": 3}', "[]"])
def test_a_damaged_file_is_measured_anew(content, measured):
    machine.machine(CPU)
    machine._path(machine.describe(CPU)).write_text(content)
    assert machine.known(CPU) is None
    assert machine.machine(CPU).rates
    assert machine.machine(CPU) == machine.known(CPU)
    assert len(measured) == 2


def test_a_cache_that_cannot_be_written_is_none(monkeypatch, tmp_path, measured):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("NONSINGULAR_CACHE", str(tmp_path / "file" / "below"))
    assert machine.machine(CPU).rates
    assert len(measured) == 1


def test_training_keeps_its_digits_however_fast_bfloat16_is():
    for gain in (0.1, 1.0, 10.0):
        assert with_gain(gain).chosen()["training"].taken == "float32"
    assert with_gain(2.0).chosen()["surfaces"].taken == "trial"
    assert with_gain(0.5).chosen()["surfaces"].taken == "float32"


def test_threads_that_bring_nothing_are_told():
    assert "fewer" in with_gain(1, threads=4, parallel=1.1).chosen()["threads"].why
    assert "fewer" not in with_gain(1, threads=4, parallel=3.5).chosen()["threads"].why


def test_the_command_tells_rates_and_choices(capsys):
    for arguments in (["machine"], ["machine", "--json"]):
        assert run(arguments) == 0
    table, _, document = capsys.readouterr().out.partition("{")
    assert "convolution bfloat16" in " ".join(table.split())
    found = json.loads("{" + document)
    assert found["rates"]["memory"]["value"] > 0
    assert {*found["chosen"]} == {"training", "surfaces", "threads"}
    assert found["chosen"]["threads"]["taken"] == str(torch.get_num_threads())


@pytest.mark.parametrize(("gain", "tried"), [(0.5, False), (2.0, True)])
def test_surfaces_try_bfloat16_where_it_can_pay(monkeypatch, gain, tried):
    from nonsingular import landscape

    monkeypatch.setattr(sys.modules["nonsingular.landscape.grid"], "known", lambda device: with_gain(gain))
    seen = []
    monkeypatch.setattr(landscape.Losses, "choose_precision", lambda *_: seen.append(1))
    model = torch.nn.Linear(3, 2)
    directions = [landscape.gaussian(model, seed) for seed in (0, 1)]
    batch = torch.randn(8, 3), torch.arange(8) % 2
    settings = landscape.Settings(0.1, precision="auto")
    for chosen in (settings, landscape.Settings(0.0, precision="auto")):
        landscape.surface(
            model, torch.nn.functional.cross_entropy, [batch], *directions, grid=3, settings=chosen
        )  # fmt: skip
    assert len(seen) == tried


@pytest.mark.parametrize("measured", [False, True])
def test_auto_says_what_it_took(monkeypatch, capsys, measured):
    monkeypatch.setattr(machine, "known", lambda device: with_gain(2) if measured else None)
    options.tell_precision("auto", TrainingSpec(), CPU)
    options.tell_precision("float32", TrainingSpec(), CPU)
    options.tell_precision("auto", None, CPU)
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("precision auto: float32")
    assert ("2 times as fast" in line) == measured


def test_auto_is_the_experiments_own_precision():
    assert Overrides(precision="auto") == Overrides()


def test_rates_are_known_nowhere_without_a_home(monkeypatch):
    def homeless(cls):
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.delenv("NONSINGULAR_CACHE")
    monkeypatch.setattr(machine.Path, "home", classmethod(homeless))
    monkeypatch.setattr(machine, "measured", lambda here, device: with_gain(2))
    assert machine.known(CPU) is None
    assert machine.machine(CPU) == with_gain(2)


def test_measuring_draws_no_random_numbers_of_the_users():
    before = torch.get_rng_state()
    machine._works(CPU)
    assert torch.equal(torch.get_rng_state(), before)
