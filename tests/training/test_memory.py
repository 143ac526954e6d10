"""Steps take the memory that the steps before them have freed."""

import os
import subprocess
import sys

import pytest

STEPS = """
import resource, statistics, sys, torch
from nonsingular.data import Task
from nonsingular.networks import build, resnet
from nonsingular.training import Trainer, TrainingSpec, trainer

torch.set_num_threads(1)
x, y = torch.randn(16, 3, 32, 32), torch.arange(16) % 10
task = Task(x, y, x, y, 10)

def page_faults():
    training = Trainer([build(resnet(8), task.shape, 10, 0)], [0], task, TrainingSpec(batch=16))
    seen = []
    for _ in range(7):
        before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
        training.train_epoch()
        seen.append(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
    return int(statistics.median(seen[2:]))  # the system may take pages away in some of them

keep = {"kept": trainer.keep_freed_memory, "given back": lambda: None}
for what in sys.argv[1:]:
    trainer.keep_freed_memory = keep[what]
    print(page_faults())
"""


@pytest.mark.skipif(sys.platform != "linux", reason="mallopt is glibc's")
def test_a_step_takes_the_memory_of_the_step_before():
    given_back, few = page_faults("given back", "kept")
    assert given_back > 2 * few
    # A user's choice, here glibc's own default, stays.
    [chosen] = page_faults("kept", MALLOC_TRIM_THRESHOLD_="131072")
    assert chosen > 2 * few


def page_faults(*steps, **chosen):
    """Of steps that give their memory back or keep it, in a process with these settings."""
    clean = {k: v for k, v in os.environ.items() if not k.startswith("MALLOC_") and k != "GLIBC_TUNABLES"}
    command = [sys.executable, "-c", STEPS, *steps]
    done = subprocess.run(command, capture_output=True, text=True, check=True, env=clean | chosen)
    return [int(number) for number in done.stdout.split()]
