"""How large the benchmarks are: seconds each in the test suite (smoke), what counts with ``--full`` (``make bench``).

In smoke mode everything is run at the smallest size and answers are compared; times are printed and mean nothing.
"""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

SECONDS = pytest.StashKey[dict[str, float]]()


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--full", action="store_true", help="benchmarks at full size: half an hour in all")


def pytest_configure(config: pytest.Config) -> None:
    config.stash[SECONDS] = defaultdict(float)


@pytest.fixture(scope="session")
def full(pytestconfig: pytest.Config) -> bool:
    """Whether times are measured; otherwise the benchmark shall only work."""
    return bool(pytestconfig.getoption("full", False))


@pytest.fixture
def kept(full: bool, pytestconfig: pytest.Config, tmp_path: Path) -> Path:
    """The folder for trained networks: of full size they are trained once."""
    return Path(pytestconfig.cache.mkdir("trained")) if full and pytestconfig.cache else tmp_path


@pytest.fixture(autouse=True)
def _threads(full: bool) -> Iterator[None]:
    """One in smoke mode, where tests run in parallel."""
    threads = torch.get_num_threads()
    if not full:
        torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol(item: pytest.Item) -> Iterator[None]:
    start = time.perf_counter()
    yield
    item.config.stash[SECONDS][item.path.name] += time.perf_counter() - start


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    """How long each file took."""
    if not config.getoption("full", False):
        return
    seconds = config.stash[SECONDS]
    terminalreporter.section(f"seconds a file, {torch.get_num_threads()} threads")
    for name, took in seconds.items():
        terminalreporter.write_line(f"{took:7.0f} {name}")
    terminalreporter.write_line(f"{sum(seconds.values()):7.0f} in all")
