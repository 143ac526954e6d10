"""Steps take the memory that the steps before them have freed."""

import os
import subprocess
import sys

import pytest

STEPS = """
import resource, statistics, torch
from nonsingular.data import Task
from nonsingular.networks import build, resnet
from nonsingular.training import Trainer, TrainingSpec, trainer

torch.set_num_threads(1)
x, y = torch.randn(64, 3, 32, 32), torch.arange(64) % 10
task = Task(x, y, x, y, 10)

def page_faults():
    training = Trainer([build(resnet(8), task.shape, 10, 0)], [0], task, TrainingSpec(batch=64))
    seen = []
    for _ in range(7):
        before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
        training.train_epoch()
        seen.append(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
    return int(statistics.median(seen[2:]))  # the system may take pages away in some of them

keep, trainer.keep_freed_memory = trainer.keep_freed_memory, lambda: None
given_back = page_faults()
trainer.keep_freed_memory = keep
print(given_back, page_faults())
"""


@pytest.mark.skipif(sys.platform != "linux", reason="mallopt is glibc's")
def test_a_step_takes_the_memory_of_the_step_before():
    given_back, few = page_faults()
    assert given_back > 2 * few
    # A user's choice, here glibc's own default, stays.
    assert page_faults(MALLOC_TRIM_THRESHOLD_="131072")[1] > 2 * few


def page_faults(**chosen):
    """Of a step that gives its memory back, and of one after that setting."""
    clean = {k: v for k, v in os.environ.items() if not k.startswith("MALLOC_") and k != "GLIBC_TUNABLES"}
    done = subprocess.run([sys.executable, "-c", STEPS], capture_output=True, text=True, check=True, env=clean | chosen)
    return [int(number) for number in done.stdout.split()]
