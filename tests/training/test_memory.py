"""Steps take the memory that the steps before them have freed."""

import os
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
x, y = torch.randn(32, 3, 32, 32), torch.arange(32) % 10
task = Task(x, y, x, y, 10)
training = Trainer([build(resnet(8), task.shape, 10, 0)], [0], task, TrainingSpec(batch=32))
for _ in range(2):
    training.train_epoch()
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(2):
    training.train_epoch()
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="mallopt is glibc's")
def test_a_step_takes_the_memory_of_the_step_before():
    few = page_faults("kept")
    assert page_faults("given back") > 2 * few
    # A user's choice, here glibc's own default, stays.
    assert page_faults("kept", MALLOC_TRIM_THRESHOLD_="131072") > 2 * few


def page_faults(how, **chosen):
    clean = {k: v for k, v in os.environ.items() if not k.startswith("MALLOC_") and k != "GLIBC_TUNABLES"}
    command = [sys.executable, "-c", STEPS, how]
    return int(subprocess.run(command, capture_output=True, text=True, check=True, env=clean | chosen).stdout)
