"""A user's own code: found by file or module, executed once, and at home while it runs."""

from __future__ import annotations

import ast
import functools
import hashlib
import importlib
import importlib.util
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from importlib.machinery import ModuleSpec, PathFinder
from pathlib import Path
from types import ModuleType
from typing import TypeVar

from nonsingular.errors import InputError
from nonsingular.places import raised_in

T = TypeVar("T")

_NEVER_OURS = sys.stdlib_module_names | {"nonsingular", "torch", "numpy"}
_CODES: dict[tuple[Path, str], Code] = {}
_HOMES: dict[tuple[Path, ...], Home] = {}


class Home:
    """Folders whose modules come first while their own code runs, as for a script, and last at other times.

    Names that they share with installed packages (a user's ``datasets.py``) or with another home are the others' again
    in between, because this program imports too. All other names stay importable, so that what a model imports in its
    ``forward`` is found.
    """

    def __init__(self, folders: Sequence[Path]) -> None:
        self.folders = [str(folder) for folder in folders]
        self.not_ours: set[str] = set()
        self._own: dict[str, ModuleType] = {}
        self._inside = False
        sys.path.extend(self.folders)  # for processes that start as copies of this one

    def find_spec(self, name: str, path: object = None, target: object = None) -> ModuleSpec | None:
        """As a finder of ``sys.meta_path``: modules of the folders."""
        if path is not None or not self._claims(name) or (not self._inside and _is_installed(name)):
            return None
        return PathFinder.find_spec(name, self.folders)

    @contextmanager
    def entered(self) -> Iterator[None]:
        """Within: the folders' modules come first."""
        files = {file.removesuffix(".py") for folder in self.folders for file in _files(folder)}
        claimed = [name for name in _tops() if name in files and self._claims(name)]
        others = _taken({name for name in claimed if not self._is_here(name)})
        sys.modules.update(self._own)
        importlib.invalidate_caches()
        sys.meta_path[:] = [self, *(finder for finder in sys.meta_path if finder is not self)]
        self._inside = True
        try:
            yield
        finally:
            self._inside = False
            ours = {name for name in _tops() if self._is_here(name)}
            self._own = _taken({name for name in ours if name in {_top(o) for o in others} or _is_installed(name)})
            sys.modules.update(others)

    def _claims(self, name: str) -> bool:
        if "." in name or name in _NEVER_OURS or name in self.not_ours:
            return False
        return any(os.path.isfile(f"{f}/{name}.py") or os.path.isfile(f"{f}/{name}/__init__.py") for f in self.folders)

    def _is_here(self, name: str) -> bool:
        place = _place(sys.modules.get(name))
        return place is not None and str(place) in self.folders


class Code:
    """One file or module of the user's, executed.

    Attributes:
        name: as the user wrote it.
        module: what it holds.
    """

    def __init__(self, name: str, home: Home, load: Callable[[], ModuleType]) -> None:
        self.name, self._home = name, home
        self.module = self.run(load, f"{name} cannot be imported")

    def run(self, function: Callable[[], T], failure: str) -> T:
        """Call a function of this code as a script would: its folder's modules first, no arguments of ours to parse.

        Raises:
            InputError: whatever it raises, in one line that begins with ``failure`` and ends with the user's line.
        """
        arguments, sys.argv = sys.argv, [self.name]
        try:
            with self._home.entered():
                return function()
        except SystemExit as error:
            raise InputError(
                f"{failure}: it ends the program (SystemExit: {error}); "
                "keep what a script does under if __name__ == '__main__'"
            ) from error
        except Exception as error:
            said = " ".join(str(error).split())
            raise InputError(f"{failure}: {type(error).__name__}: {said}{raised_in(error)}") from error
        finally:
            sys.argv = arguments


def code(place: str) -> Code:
    """The user's code at ``file.py`` or ``package.module``: executed once, however often it is asked for.

    A file in a package (a folder with ``__init__.py``, or one that it imports relatively from) is that package's
    module. Its name is its own unless an installed package has it; so classes defined in it can be pickled.

    Raises:
        InputError: no such file or module, or it fails.
    """
    is_file = place.endswith(".py")
    if is_file and not Path(place).is_file():
        raise InputError(f"no file {place}")
    key = (Path(place).resolve(), "") if is_file else (Path.cwd(), place)
    if key not in _CODES:
        _CODES[key] = _file(place, key[0]) if is_file else _module(place)
    return _CODES[key]


def _module(name: str) -> Code:
    try:
        return Code(name, _home(Path.cwd()), lambda: importlib.import_module(name))
    except InputError as error:
        missing = getattr(error.__cause__, "name", None)
        if isinstance(error.__cause__, ModuleNotFoundError) and missing and f"{name}.".startswith(f"{missing}."):
            raise InputError(f"no module {missing!r}") from error
        raise


def _file(place: str, path: Path) -> Code:
    depth = _depth(path)
    packages = [folder.name for folder in reversed(path.parents[:depth])]
    folders = dict.fromkeys([path.parent, path.parents[depth]])
    home = _home(*folders)
    top = packages[0] if packages else path.stem
    first = path.parents[depth - 1] if packages else path
    if _is_installed(top):
        home.not_ours.add(top)
    known = sys.modules.get(top)
    if top in home.not_ours or (known is not None and _place(known) != path.parents[depth]):
        alias = f"{top}_{hashlib.sha256(str(first).encode()).hexdigest()[:8]}"
    else:
        alias = top

    def load() -> ModuleType:
        if alias not in sys.modules:
            _execute(alias, first, None if top in home.not_ours else top)
        return importlib.import_module(".".join([alias, *packages[1:], path.stem])) if packages else sys.modules[alias]

    return Code(place, home, load)


def _execute(name: str, path: Path, also: str | None) -> None:
    """Import a file, or a package by its folder, under a name."""
    initial = path / "__init__.py" if path.is_dir() else path
    spec = importlib.util.spec_from_file_location(
        name, initial, submodule_search_locations=[str(path)] if path.is_dir() else None
    )
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules.update({name: module} if also is None else {name: module, also: module})
    try:
        if initial.exists():
            spec.loader.exec_module(module)
    except BaseException:
        for key in [key for key, found in sys.modules.items() if found is module]:
            del sys.modules[key]
        raise


def _depth(path: Path) -> int:
    """How many folders above a file are packages."""
    depth = 0
    while (path.parents[depth] / "__init__.py").is_file() and path.parents[depth].name.isidentifier():
        depth += 1
    try:
        tree = ast.parse(path.read_bytes())
    except (SyntaxError, ValueError):
        return depth
    levels = [node.level for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)]
    wanted = max(levels, default=0)
    if wanted > depth and wanted < len(path.parents) and all(f.name.isidentifier() for f in path.parents[:wanted]):
        return wanted
    return depth


def _home(*folders: Path) -> Home:
    key = tuple(folder.resolve() for folder in folders)
    return _HOMES.setdefault(key, Home(key))


def _is_installed(name: str) -> bool:
    """Whether a module of this name is there apart from all homes and the working folder."""
    if name in _NEVER_OURS:
        return True
    own = {folder for home in _HOMES.values() for folder in home.folders} | {"", os.getcwd()}
    spec = PathFinder.find_spec(name, [p for p in sys.path if os.path.realpath(p) not in own and p not in own])
    return spec is not None and spec.loader is not None  # folders without __init__.py count for nothing


def _tops() -> list[str]:
    return [name for name in sys.modules if "." not in name]


def _files(folder: str) -> list[str]:
    """Of a folder, which may be gone."""
    return os.listdir(folder) if os.path.isdir(folder) else []


def _top(name: str) -> str:
    return name.partition(".")[0]


def _taken(tops: set[str]) -> dict[str, ModuleType]:
    """Modules of these names, with all below them, taken out of ``sys.modules``."""
    found = {name: module for name, module in sys.modules.items() if _top(name) in tops} if tops else {}
    for name in found:
        del sys.modules[name]
    return found


def _place(module: ModuleType | None) -> Path | None:
    """The folder from which a top-level module comes."""
    file = getattr(module, "__file__", None)
    if file:
        return _folder(os.path.abspath(file))
    folders = list(getattr(module, "__path__", None) or [])
    return Path(os.path.realpath(folders[0])).parent if folders else None


@functools.cache  # of every module that is loaded, before and after each call of the user's code
def _folder(file: str) -> Path:
    path = Path(os.path.realpath(file))
    return path.parent.parent if path.name == "__init__.py" else path.parent
