"""A user's own file, wherever it lies and whatever it is called: executed once, and at home while it runs."""

import os
import pickle
import subprocess
import sys

import pytest
import torch

from nonsingular.cli.targets import Target
from nonsingular.errors import InputError

NET = """
import torch
from torch import nn

COUNT = globals().get("COUNT", 0) + 1
with open(__file__ + ".executed", "a") as log:
    log.write("x")

class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.a = nn.Linear(8, 4)

    def forward(self, x):
        return self.a(x)

def build():
    return Net()
"""


@pytest.fixture(autouse=True)
def _own_modules(tmp_path):
    """Whatever a test imports from its folder is gone after it."""
    path, finders = list(sys.path), list(sys.meta_path)
    yield
    for name, module in list(sys.modules.items()):
        if str(tmp_path) in str(getattr(module, "__file__", "")):
            del sys.modules[name]
    sys.path[:], sys.meta_path[:] = path, finders


def write(folder, **files):
    for name, text in files.items():
        path = folder / f"{name.replace('__', '/')}.py"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return folder


def built(path, name="build"):
    return Target(f"{path}:{name}").build()[0]


def test_a_file_is_executed_once_whichever_way_it_is_named(tmp_path, monkeypatch):
    write(tmp_path, once=NET)
    monkeypatch.chdir(tmp_path)
    models = [built(p) for p in ("once.py", tmp_path / "once.py", "./once.py")] + [Target("once:build").build()[0]]
    assert len({type(m) for m in models}) == 1
    assert (tmp_path / "once.py.executed").read_text() == "x"


def test_its_classes_can_be_pickled_and_typed(tmp_path):
    text = NET + "\nimport dataclasses\n@dataclasses.dataclass\nclass Size:\n    width: 'int' = 3\n"
    write(tmp_path, pickled_net=text)
    model = built(tmp_path / "pickled_net.py")
    again = pickle.loads(pickle.dumps(model))
    assert type(again) is type(model)
    assert torch.equal(again.a.weight, model.a.weight)


@pytest.mark.parametrize("stem", ["json", "random", "torch", "numpy", "nonsingular", "filelock", "rich", "pytest"])
def test_a_file_may_be_called_like_an_installed_package(tmp_path, stem):
    __import__(stem)
    installed = sys.modules[stem]
    write(tmp_path, **{stem: f"import {stem} as installed\n" + NET})
    model = built(tmp_path / f"{stem}.py")
    assert sys.modules[stem] is installed
    assert sys.modules[type(model).__module__].installed is installed
    assert type(pickle.loads(pickle.dumps(model))) is type(model)


def test_a_neighbour_called_like_an_installed_package_is_the_files_own_and_nobody_elses(tmp_path):
    import filelock as installed

    write(tmp_path, filelock="from torch import nn\nclass Net(nn.Linear): pass\n")
    write(tmp_path, near="import filelock\ndef build():\n    import filelock as again\n    assert again is filelock\n"
          "    return filelock.Net(8, 4)\n")  # fmt: skip
    target = Target(f"{tmp_path / 'near.py'}:build")
    for _ in range(2):
        assert type(target.build()[0]).__name__ == "Net"
        assert sys.modules["filelock"] is installed
    import filelock

    assert filelock is installed


def test_two_files_of_one_stem_with_neighbours_of_one_stem(tmp_path):
    for name, width in (("a", 3), ("b", 5)):
        write(
            tmp_path / name,
            parts=f"WIDTH = {width}\ndef late():\n    import later\n    return later.WIDTH\n",
            later=f"WIDTH = {width}\n",
            net="from torch import nn\nimport parts\nclass Net(nn.Linear): pass\n"
            "def build():\n    import parts as again\n    assert again.late() == parts.WIDTH\n"
            "    return Net(8, again.WIDTH)\n",
        )
    targets = {name: Target(f"{tmp_path / name / 'net.py'}:build") for name in ("a", "b")}
    for name in ("a", "b", "b", "a"):
        model = targets[name].build()[0]
        assert model.out_features == {"a": 3, "b": 5}[name]
        assert type(pickle.loads(pickle.dumps(model))) is type(model)


def test_imports_in_build_and_in_forward(tmp_path):
    write(
        tmp_path,
        lazily_net=NET,
        lazily_forward="def double(x):\n    return 2 * x\n",
        lazily="from torch import nn\ndef build():\n    from lazily_net import Net\n    class Late(Net):\n"
        "        def forward(self, x):\n            from lazily_forward import double\n"
        "            return double(super().forward(x))\n    return Late()\n",
    )
    model, x = built(tmp_path / "lazily.py"), torch.randn(2, 8)
    assert torch.equal(model(x), 2 * model.a(x))


def test_a_neighbour_that_imports_the_file_gets_the_same(tmp_path):
    write(tmp_path, ring=NET + "\ndef same():\n    import ring_other\n    return ring_other.Net()\n")
    write(tmp_path, ring_other="from ring import Net\n")
    assert type(built(tmp_path / "ring.py", "same")) is type(built(tmp_path / "ring.py"))
    assert (tmp_path / "ring.py.executed").read_text() == "x"


@pytest.mark.parametrize("top", ["package_of_mine", "code", "torch", "filelock"])
@pytest.mark.parametrize("initial", [True, False], ids=["package", "folder"])
def test_relative_imports(tmp_path, top, initial):
    __import__(top if top != "package_of_mine" else "json")
    installed = sys.modules.get(top)
    write(tmp_path / top, blocks=NET, deep__net="from ..blocks import Net\nfrom . import side\ndef build():\n"
          "    from ..blocks import Net as again\n    assert again is Net and side.FOUND\n    return Net()\n",
          deep__side="FOUND = True\n")  # fmt: skip
    if initial:
        write(tmp_path / top, __init__="", deep____init__="")
    model = built(tmp_path / top / "deep" / "net.py")
    assert type(model).__name__ == "Net"
    assert (tmp_path / top / "blocks.py.executed").read_text() == "x"
    assert type(pickle.loads(pickle.dumps(model))) is type(model)
    assert installed is None or sys.modules[top] is installed


def test_a_script_that_reads_its_arguments_gets_none_of_ours(tmp_path, monkeypatch):
    monkeypatch.setattr(sys, "argv", ["nonsingular", "diagnose", "--steps", "3"])
    write(tmp_path, script="import argparse\np = argparse.ArgumentParser()\np.add_argument('--width', default=4)\n"
          "args = p.parse_args()\n" + NET)  # fmt: skip
    assert type(built(tmp_path / "script.py")).__name__ == "Net"
    assert sys.argv[1] == "diagnose"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("import sys; sys.exit(3)", r"ends the program \(SystemExit: 3\).*__main__"),
        ("def build(:", r"SyntaxError"),
        ("x = 1\nimport absent_package", r"No module named 'absent_package' \(.*wrong.py, line 2\)"),
        ("def build():\n    y = 1\n    raise KeyError('w')", r"failed: KeyError: 'w' \(.*wrong.py, line 3\)"),
        ("def build():\n    raise SystemExit", "ends the program"),
        ("def build():\n    return 1, 2", r"it returned \(int, int\)"),
        ("def build():\n    return None", "it returned a NoneType"),
    ],
)
def test_mistakes_are_one_line_with_the_users_line(tmp_path, text, message):
    write(tmp_path, wrong=text)
    with pytest.raises(InputError, match=message) as caught:
        built(tmp_path / "wrong.py")
    assert "\n" not in str(caught.value)


def test_no_line_is_named_that_is_in_no_file(tmp_path, monkeypatch):
    write(tmp_path, unreadable="def build(:")
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InputError, match=r"\(unreadable.py, line 1\)$"):
        built("unreadable.py")


def test_a_file_that_failed_is_tried_again(tmp_path):
    write(tmp_path, mended="raise RuntimeError")
    with pytest.raises(InputError, match="RuntimeError"):
        built(tmp_path / "mended.py")
    write(tmp_path, mended=NET)
    assert type(built(tmp_path / "mended.py")).__name__ == "Net"


def test_workers_that_start_afresh_find_its_classes(tmp_path):
    """What a DataLoader with ``spawn`` does: the module's name, and the path, are all that the child gets."""
    write(tmp_path, spawned=NET)
    model = built(tmp_path / "spawned.py")
    child = "import pickle, sys; print(type(pickle.load(sys.stdin.buffer)).__name__)"
    done = subprocess.run(
        [sys.executable, "-c", child], input=pickle.dumps(model), capture_output=True, timeout=60,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
    )  # fmt: skip
    assert done.stdout == b"Net\n", done.stderr
