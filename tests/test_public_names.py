"""The names at the top: the same to Python and to a type checker, and free until they are used."""

import ast
import re
import subprocess
import sys
from pathlib import Path

import nonsingular as ns

ROOT = Path(__file__).parents[1]


def declared():
    """name -> where a type checker takes it from."""
    tree = ast.parse(Path(ns.__file__).read_text())
    block = next(node for node in tree.body if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING")
    return {alias.asname: (node.module, alias.name) for node in block.body for alias in node.names}


def test_a_type_checker_sees_the_same_names():
    assert set(declared()) == set(ns.__all__)
    for name, (module, there) in declared().items():
        __import__(f"{module}.{there}" if name in ns._MODULES else module)
        assert getattr(ns, name) is getattr(sys.modules[module], there), name


def test_every_flat_name_is_held_against_its_type():
    """By mypy, in `make lint`: tests/typing/public_names.py."""
    checked = (ROOT / "tests" / "typing" / "public_names.py").read_text()
    assert [name for name in ns._NAMES if not re.search(rf"\bns\.{name}\b", checked)] == []


def test_importing_loads_nothing_heavy():
    heavy = (
        "import sys, nonsingular; print([m for m in ('torch', 'numpy', 'xarray', 'matplotlib') if m in sys.modules])"
    )
    assert subprocess.run([sys.executable, "-c", heavy], capture_output=True, text=True).stdout.strip() == "[]"


def test_the_shell_completes_commands():
    """As bash asks for it."""
    asks = {"_NONSINGULAR_COMPLETE": "complete_bash", "COMP_WORDS": "nonsingular re", "COMP_CWORD": "1"}
    program = "import sys; sys.argv[0] = 'nonsingular'; from nonsingular.cli import main; main()"
    environment = {"PYTHONPATH": ":".join(sys.path)} | asks
    run = subprocess.run([sys.executable, "-c", program], env=environment, capture_output=True, text=True)
    assert run.stdout.split() == ["report", "reproduce"]


def test_version_citation_and_changelog_agree():
    for file, form in {
        "pyproject.toml": 'version = "{}"',
        "CITATION.cff": "version: {}",
        "CHANGELOG.md": "## {} (",
    }.items():
        assert form.format(ns.__version__) in (ROOT / file).read_text(), file
