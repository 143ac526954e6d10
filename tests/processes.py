"""Commands in processes of their own, without the seconds that importing the libraries takes in each."""

import contextlib
import multiprocessing
import os
import sys
import time
from multiprocessing import forkserver
from pathlib import Path

from nonsingular import cli
from paper import spared

PRELOADED = ["preloaded", __name__]


def server():
    """Forks processes from one that has loaded the libraries and done nothing else."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(PRELOADED)
    with _importable(Path(__file__).parent):
        forkserver.ensure_running()
    return context


@contextlib.contextmanager
def _importable(folder: Path):
    """Within, new interpreters find the modules of a folder: this Python's fork server is not told of ``sys.path``."""
    before = os.environ.get("PYTHONPATH")
    os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, [str(folder), before]))
    try:
        yield
    finally:
        os.environ.pop("PYTHONPATH")
        if before is not None:
            os.environ["PYTHONPATH"] = before


class Started:
    """``nonsingular ARGUMENTS``, started in a folder, with its output in files."""

    def __init__(self, arguments, logs: Path, folder: Path | None = None, **environment: str) -> None:
        self.logs = [logs / name for name in ("stdout.txt", "stderr.txt")]
        for path in self.logs:
            path.unlink(missing_ok=True)
        arguments = [str(a) for a in arguments]
        self.process = server().Process(target=_run, args=(arguments, folder or Path.cwd(), self.logs, environment))
        self.process.start()

    def begin(self) -> None:
        """Wait until the libraries are there and the command starts."""
        while self.running() and not self.logs[-1].exists():
            time.sleep(0.005)

    def running(self) -> bool:
        return self.process.exitcode is None

    def send(self, signal: int) -> None:
        with contextlib.suppress(ProcessLookupError):  # it has just ended
            os.kill(self.process.pid, signal)

    def end(self, timeout: float = 300) -> tuple[int, str, str]:
        """Exit status, standard output and standard error, once it is over."""
        self.process.join(timeout)
        status = self.process.exitcode
        if status is None:
            self.process.kill()
        assert status is not None, f"not done within {timeout} s: {self.logs[1].read_text()}"
        return status, *(path.read_text() if path.exists() else "" for path in self.logs)


def run(arguments, logs: Path, folder: Path | None = None, **environment: str) -> tuple[int, str, str]:
    """Exit status, standard output and standard error of ``nonsingular ARGUMENTS``."""
    return Started(arguments, logs, folder, **environment).end()


def _run(arguments, folder, logs, environment):
    os.chdir(folder)
    os.environ.update(environment)
    assert "preloaded" in sys.modules, "the fork server has loaded nothing: see tests/preloaded.py"
    for descriptor, path in enumerate(logs, start=1):
        file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        os.dup2(file, descriptor)
        os.close(file)
    sys.stdout, sys.stderr = (open(d, "w", buffering=1, closefd=False) for d in (1, 2))  # noqa: SIM115
    with spared():
        cli.main(arguments)
