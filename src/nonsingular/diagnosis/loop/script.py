"""A user's own script, run as Python runs it, with its training loop observed."""

from __future__ import annotations

import os
import sys
import traceback
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType, TracebackType

from nonsingular.diagnosis.loop.enough import stopped
from nonsingular.diagnosis.loop.observer import Enough, Observer
from nonsingular.diagnosis.loop.records import Loop
from nonsingular.diagnosis.loop.taps import tapped
from nonsingular.errors import InputError
from nonsingular.objective import first_line
from nonsingular.places import Place, is_library
from nonsingular.words import counted


@dataclass(frozen=True)
class Ran:
    """How a script ended.

    Attributes:
        status: its exit status, as Python would have returned it.
        error: the exception it died of, with a traceback that begins in the script.
        stopped: after as many steps as were asked for.
    """

    status: int = 0
    error: BaseException | None = None
    stopped: bool = False

    def tell(self) -> None:
        """Print the script's own traceback to standard error, as Python does."""
        if self.error is not None:
            sys.stderr.write("".join(traceback.format_exception(self.error)))


def run(script: Path, arguments: Sequence[str], observer: Observer) -> Ran:
    """Run a script as ``python script.py arguments`` does, and tell the observer what it does.

    It is ``__main__``, has its own ``sys.argv``, and imports from its own folder first. What it raises is returned, not
    raised, except for Ctrl-C.

    Raises:
        InputError: no such file, or one that is not Python.
    """
    if not script.is_file():
        raise InputError(f"no script {script}; give the file that you run with python, then its own arguments")
    try:
        code = compile(script.read_bytes(), str(script.resolve()), "exec")
    except (SyntaxError, ValueError) as error:
        raise InputError(f"{script} is not Python: {error}") from error
    with _as_main(script, arguments) as module:
        try:
            with observer.tape, tapped(observer):
                exec(code, module.__dict__)
        except Enough:
            loop = observer.finish(ended=False)
            loop.notes.append(stopped(loop))
            return Ran(stopped=True)
        except SystemExit as leaving:
            observer.finish()
            return Ran(_status(leaving))
        except KeyboardInterrupt:
            observer.finish(ended=False)
            raise
        except BaseException as error:
            _note(error, observer.finish(ended=False))
            return Ran(1, error.with_traceback(_own(error.__traceback__, code.co_filename)))
    observer.finish()
    return Ran()


def _note(error: BaseException, loop: Loop) -> None:
    """That the script raised an error, where, and after how many steps."""
    frames = [f for f in traceback.extract_tb(error.__traceback__) if not is_library(f.filename)]
    where = f" at {Place(frames[-1].filename, frames[-1].lineno or 0)}" if frames else ""
    loop.raised = f"{type(error).__name__}: {first_line(error)}{where}"
    steps = loop.steps or loop.counts["hand"]
    loop.notes.append(
        f"the script raised {loop.raised}, after {counted(steps, 'step')}: what was seen until then was judged"
    )


@contextmanager
def _as_main(script: Path, arguments: Sequence[str]) -> Iterator[ModuleType]:
    module = ModuleType("__main__")
    module.__dict__.update(__file__=str(script.resolve()), __builtins__=__builtins__, __spec__=None)
    before, argv, path = sys.modules["__main__"], sys.argv, list(sys.path)
    sys.modules["__main__"], sys.argv = module, [str(script), *arguments]
    sys.path.insert(0, str(script.resolve().parent))
    try:
        yield module
    finally:
        sys.modules["__main__"], sys.argv, sys.path[:] = before, argv, path


def _status(leaving: SystemExit) -> int:
    """As Python itself turns the argument of ``sys.exit`` into a status: words are printed, and mean failure."""
    if leaving.code is None:
        return 0
    if isinstance(leaving.code, int):
        return leaving.code
    print(leaving.code, file=sys.stderr)
    return 1


def _own(trace: TracebackType | None, file: str) -> TracebackType | None:
    """The traceback from the script's own first line on."""
    while trace is not None and trace.tb_frame.f_code.co_filename != file:
        trace = trace.tb_next
    return trace


@contextmanager
def prints_to_stderr() -> Iterator[None]:
    """Whatever is printed within, by this process or by its children, goes to standard error."""
    sys.stdout.flush()
    kept = os.dup(1)
    try:
        os.dup2(2, 1)
        yield
        sys.stdout.flush()
    finally:
        os.dup2(kept, 1)
        os.close(kept)
