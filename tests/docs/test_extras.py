"""The optional parts that messages and the README name can be installed."""

import re
import tomllib
from pathlib import Path

import nonsingular

ROOT = Path(__file__).parents[2]
EXTRAS = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]


def test_extras_named_in_errors_exist():
    source = "\n".join(path.read_text() for path in Path(nonsingular.__file__).parent.rglob("*.py"))
    named = re.findall(r"MissingExtra\(.*\"(\w+)\"\)", source)
    assert len(named) == source.count("raise MissingExtra(")
    assert {"data", "search", "ray", "interactive"} <= set(named) <= set(EXTRAS)


def test_every_extra_of_a_user_is_in_the_readme():
    readme = (ROOT / "README.md").read_text()
    assert [extra for extra in EXTRAS if extra not in ("dev", "bench", "docs") and f"`{extra}`" not in readme] == []
