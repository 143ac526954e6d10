import gc
import os
import shutil
import sys
from contextlib import nullcontext
from pathlib import Path

import pytest
import torch

from nonsingular.cli import progress
from nonsingular.data import Task
from paper import spared
from processes import server

ROOT = Path(__file__).parents[1]


def pytest_collection_finish():
    """What thousands of tests and the libraries consist of stays: no collection of garbage goes through it again.

    Nor, but for one time in five, through what libraries load later: such a collection takes an eighth of a second.
    """
    gc.collect()
    gc.freeze()
    first, second, third = gc.get_threshold()
    gc.set_threshold(first, second, 5 * third)


@pytest.fixture(scope="session", autouse=True)
def _quiet_machine(tmp_path_factory):
    """One thread a process (tests run in parallel), a cache of their own, and no waiting until a disk has written.

    What is slow on a busy machine says nothing of it: messages are one line there as well.
    """
    torch.set_num_threads(1)
    os.environ["OMP_NUM_THREADS"] = "1"  # of the processes that tests start
    os.fsync = lambda fd: None  # what tests write need not outlive a power cut
    progress.SECONDS = 3600.0
    folder = tmp_path_factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        folder = folder.parent  # real images are decoded once for all workers
    os.environ["NONSINGULAR_CACHE"] = str(folder / "cache")


@pytest.fixture(scope="session", autouse=True)
def _progress_tells_the_work_as_it_is():
    """Whatever a command says that it will do, it has done in the end, unless it failed on the way."""
    ended = progress.Bar.end
    left = progress.Bar.__exit__

    def end(bar):
        stretch = bar._stretches[-1]
        if sys.exc_info()[0] is None:
            assert stretch.total in (None, stretch.done), f"{stretch.name} ends at {stretch.amount()} {stretch.unit}"
        ended(bar)

    def leave(bar, kind, *rest):
        left(bar, kind, *rest)
        while kind is None and bar._stretches:
            bar.end()

    progress.Bar.end, progress.Bar.__exit__ = end, leave
    yield
    progress.Bar.end, progress.Bar.__exit__ = ended, left


@pytest.fixture(autouse=True)
def _paper(request):
    """Only tests that look at pictures, marked ``drawn``, and fixtures of more than one test put them on paper."""
    with nullcontext() if request.node.get_closest_marker("drawn") else spared():
        yield


@pytest.fixture(scope="session")
def data_dir():
    """The folder of real Parquet files, or a skip that says what is missing."""
    for folder in (os.environ.get("NONSINGULAR_DATA"), ROOT.parent / "shared" / "data"):
        if folder and (Path(folder) / "cifar10").is_dir():
            return Path(folder)
    pytest.skip("no real data: set NONSINGULAR_DATA to a folder with cifar10/ and mnist/ Parquet files")


@pytest.fixture
def quick_start(monkeypatch):
    """Processes that have loaded the libraries; they get what they work on as those of ``spawn`` do."""
    monkeypatch.setattr(torch.multiprocessing, "get_context", lambda _: server())


@pytest.fixture
def task():
    """A small classification task that a network can learn: three Gaussian clusters in eight dimensions."""
    generator = torch.Generator().manual_seed(0)
    centres = torch.randn(3, 8, generator=generator)
    labels = torch.arange(240) % 3
    inputs = centres[labels] + 0.5 * torch.randn(240, 8, generator=generator)
    return Task(inputs[:180], labels[:180], inputs[180:], labels[180:], classes=3)


@pytest.fixture(scope="session")
def browser():
    """A real Chromium, one for all tests, or a skip that says how to get one."""
    chromium = shutil.which("chromium") or shutil.which("chromium-browser")
    sync_api = pytest.importorskip("playwright.sync_api")
    if chromium is None:
        pytest.skip("no chromium on this machine (Debian: apt-get install chromium)")
    with sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=chromium, args=["--no-sandbox", "--disable-gpu", "--disable-background-networking"]
        )
        yield browser
        browser.close()
