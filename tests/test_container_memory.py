"""How much memory may still be taken: what is free, or what a container or a limit of the process leaves."""

import resource
import subprocess
import sys

import pytest
import torch

from nonsingular import memory
from nonsingular.memory import available_bytes

CPU, GIB = torch.device("cpu"), 2**30


@pytest.fixture
def system(tmp_path, monkeypatch):
    """A machine with 20 GiB free."""
    monkeypatch.setattr(memory, "PROC", tmp_path / "proc")
    monkeypatch.setattr(memory, "GROUPS", tmp_path / "cgroup")
    (tmp_path / "proc" / "self").mkdir(parents=True)
    (tmp_path / "proc" / "meminfo").write_text(f"MemTotal: 24000000 kB\nMemAvailable: {20 * 2**20} kB\n")
    (tmp_path / "proc" / "self" / "statm").write_text(f"{2**18} 0 0\n")

    def group(path, **files):
        folder = tmp_path / "cgroup" / path
        folder.mkdir(parents=True, exist_ok=True)
        for name, value in files.items():
            (folder / name.replace("__", ".")).write_text(f"{value}\n")

    def inside(line):
        (tmp_path / "proc" / "self" / "cgroup").write_text(f"{line}\n")

    return group, inside


def test_without_limits_it_is_what_the_machine_has_free(system):
    assert available_bytes(CPU) == 20 * GIB


def test_a_container_of_either_version(system):
    group, inside = system
    inside("0::/a/b")
    group("a/b", memory__max="max", memory__current=GIB)
    assert available_bytes(CPU) == 20 * GIB
    group("a", memory__max=4 * GIB, memory__current=3 * GIB, memory__stat=f"anon 5\ninactive_file {GIB}")
    assert available_bytes(CPU) == 2 * GIB  # a group above holds for all in it, and gives its cache up
    inside("4:memory:/c")
    group("memory/c", memory__limit_in_bytes=2**63 - 4096, memory__usage_in_bytes=GIB)
    assert available_bytes(CPU) == 20 * GIB
    group("memory/c", memory__limit_in_bytes=3 * GIB, memory__usage_in_bytes=GIB)
    assert available_bytes(CPU) == 2 * GIB


def test_within_a_container_the_path_is_the_hosts(system):
    group, inside = system
    inside("0::/docker/0123")
    group("", memory__max=4 * GIB, memory__current=5 * GIB)
    assert available_bytes(CPU) == 0


def test_a_limit_of_the_process(system, monkeypatch):
    monkeypatch.setattr(resource, "getrlimit", lambda which: (4 * GIB, resource.RLIM_INFINITY))
    assert available_bytes(CPU) == 4 * GIB - 2**18 * resource.getpagesize()


def test_a_real_limit_is_seen():
    code = (
        "import resource, torch; from nonsingular.memory import available_bytes; "
        f"resource.setrlimit(resource.RLIMIT_AS, ({2**41}, {2**41})); print(available_bytes(torch.device('cpu')))"
    )
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert 0 < float(found.stdout) < 2**41
