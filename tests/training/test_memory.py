"""Steps take the memory that the steps before them have freed."""

import subprocess
import sys

import pytest

STEPS = """
import resource, sys, torch
from nonsingular.data import Task
from nonsingular.networks import build, resnet
from nonsingular.training import Trainer, TrainingSpec, trainer

if sys.argv[1] == "given back":
    trainer.keep_freed_memory = lambda: None
x, y = torch.randn(64, 3, 32, 32), torch.arange(64) % 10
task = Task(x, y, x, y, 10)
training = Trainer([build(resnet(8), task.shape, 10, 0)], [0], task, TrainingSpec(batch=64))
for _ in range(3):
    training.train_epoch()
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(3):
    training.train_epoch()
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="mallopt is glibc's")
def test_a_step_takes_the_memory_of_the_step_before():
    faults = {
        how: int(subprocess.run([sys.executable, "-c", STEPS, how], capture_output=True, text=True, check=True).stdout)
        for how in ("kept", "given back")
    }
    # A step's activations are some 30 MB, pages of 4 kB.
    assert faults["given back"] > 3_000
    assert faults["kept"] < 1_000
