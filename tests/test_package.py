"""The wheel and the sdist hold what they should, and the wheel works where its dependencies alone are installed.

`make wheel` installs it, dependencies and all, into a new environment.
"""

import subprocess
import sys
import sysconfig
import tarfile
import zipfile
from pathlib import Path

import pytest

import nonsingular

ROOT = Path(__file__).parents[1]
SOURCE = ROOT / "src" / "nonsingular"


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    """Folder with a wheel and an sdist, built by the declared backend without any download."""
    pytest.importorskip("hatchling", reason="hatchling, which builds the package, is not installed")
    folder = tmp_path_factory.mktemp("dist")
    subprocess.run(
        [sys.executable, "-m", "hatchling", "build", "-d", folder], cwd=ROOT, check=True, capture_output=True
    )
    return folder


@pytest.fixture(scope="module")
def wheel(built):
    (path,) = built.glob("*.whl")
    return path


def test_the_wheel_holds_every_file_of_the_package(wheel):
    files = {path.relative_to(SOURCE.parent).as_posix() for path in SOURCE.rglob("*") if path.is_file()}
    files = {name for name in files if "__pycache__" not in name}
    packed = set(zipfile.ZipFile(wheel).namelist())
    assert files - packed == set()
    assert {name for name in packed if ".dist-info/" not in name} - files == set()


def test_the_sdist_can_be_built_and_tested_from(built):
    (path,) = built.glob("*.tar.gz")
    with tarfile.open(path) as archive:
        names = {name.partition("/")[2] for name in archive.getnames()}
    wanted = {
        "pyproject.toml",
        "README.md",
        "LICENSE",
        "CHANGELOG.md",
        "Makefile",
        "constraints.txt",
        "tests/conftest.py",
    }
    assert wanted <= names
    assert path.stat().st_size < 5_000_000


def test_the_wheel_works_in_a_bare_environment(wheel, tmp_path):
    """Its own interpreter and command; only the dependencies are borrowed, never this checkout."""
    home = tmp_path / "env"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", home], check=True)
    packages = Path(sysconfig.get_path("purelib", vars={"base": str(home), "platbase": str(home)}))
    zipfile.ZipFile(wheel).extractall(packages)
    (packages / "dependencies.pth").write_text(sysconfig.get_path("purelib"))
    program = """
import nonsingular as ns, torch
from importlib.metadata import version
model = torch.nn.Sequential(torch.nn.Linear(4, 8), torch.nn.ReLU(), torch.nn.Linear(8, 3))
batch = torch.randn(30, 4), torch.arange(30) % 3
found = ns.diagnose(model, torch.nn.functional.cross_entropy, [batch])
print(ns.__file__, version("nonsingular"), found.report("report.html"))
"""
    run = subprocess.run(
        [home / "bin" / "python", "-c", program],
        cwd=tmp_path, env={"OMP_NUM_THREADS": "1"}, check=True, capture_output=True, text=True,
    )  # fmt: skip
    file, version, page = run.stdout.split()
    assert Path(file).is_relative_to(packages)
    assert version == nonsingular.__version__
    assert "<h2>Findings</h2>" in (tmp_path / page).read_text()
