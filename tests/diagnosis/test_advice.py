"""The next step: what is said first, and that it can be copied and run."""

import dataclasses
import math

import pytest
import torch
import torch.nn.functional as F
from torch import nn

import nonsingular as ns
from nonsingular.diagnosis.advice import code, next_step
from nonsingular.diagnosis.bench import zoo
from nonsingular.diagnosis.course import Curve, Protocol
from nonsingular.diagnosis.optimisers import named
from nonsingular.diagnosis.prove import Proof, Trial
from nonsingular.diagnosis.treatments import PRESCRIPTIONS
from nonsingular.diagnosis.trying import _pairs
from nonsingular.intervals import Effect

BATCH = torch.randn(64, 16, generator=torch.Generator().manual_seed(0)), torch.arange(64) % 4


@pytest.fixture(scope="module")
def diagnosis():
    torch.manual_seed(0)
    return ns.diagnose(zoo.glorot(zoo.mlp(16, 4, 24, 16)), F.cross_entropy, [BATCH], curvature=False)


def with_proof(diagnosis, *trials):
    curve = Curve((1.0,), (1.0,), (math.nan,), ((1.0,), (1.0,)), (0, 40))
    return dataclasses.replace(diagnosis, proof=Proof(Protocol(steps=40), named("adam", 1e-3), curve, 1.0, trials))


@pytest.mark.parametrize("treatment", [*PRESCRIPTIONS, "add_skips + rescale_input", "adam", "adam + zero_readout"])
def test_the_lines_to_copy_run(treatment):
    torch.manual_seed(0)
    model, batches = zoo.mlp(16, 4, 6, 16), [BATCH]
    lines = code(Trial(treatment, ""))
    assert bool(lines) == (treatment != "adam")
    given = {"model": model, "batches": batches}
    try:
        exec(compile(lines, "copied", "exec"), given)
    except ns.InputError:
        assert treatment in ("revive_units", "unfreeze", "shrink_embeddings", "shrink_branches", "replace_sigmoids")
    else:
        assert (given["model"] is model) == (treatment == "adam")


def test_what_helps_is_told_with_its_place(diagnosis):
    good = Trial("zero_readout", "readout set to zero", gained=Effect(0.3, 0.2, 0.4, 5), verdict="helps")
    advice = next_step(with_proof(diagnosis, good))
    assert "treated copies learn 30 points more" in advice.words
    assert "before its optimiser is" in advice.words
    assert advice.code.startswith("import nonsingular as ns")


def test_where_nothing_helps_the_nearest_is_named(diagnosis):
    trials = (
        Trial("learning_rate_10x", "", gained=Effect(0.001, 0.0009, 0.0011, 5), verdict="no difference"),
        Trial("insert_normalisation", "", gained=Effect(0.02, -0.24, 0.25, 5), accuracy=Effect(7.2, -1, 15, 5),
              verdict="too few runs"),
        Trial("adam", "", gained=Effect(0.5, 0.4, 0.6, 5), verdict="diverges"),
    )  # fmt: skip
    words = next_step(with_proof(diagnosis, *trials)).words
    assert "Nearest to it comes insert_normalisation" in words
    assert "accuracy +7.2" in words
    assert "--steps 160" in words
    assert "Nearest" not in next_step(with_proof(diagnosis, trials[2])).words


def test_a_scale_that_the_tool_chose_is_not_the_users_fault():
    torch.manual_seed(0)
    model = nn.Sequential(*(m for _ in range(10) for m in (nn.Linear(16, 16), nn.Sigmoid())), nn.Linear(16, 4))
    small = [(0.01 * BATCH[0], BATCH[1])]
    own = ns.diagnose(model, F.cross_entropy, small, curvature=False)
    theirs = ns.diagnose(model, F.cross_entropy, small, curvature=False, data={"name": "digits", "scaling": "unit"})
    for found, said in ((own, "scale them to about 1"), (theirs, "by --scaling unit")):
        remark = next(f.remark for f in found.findings if "root mean square" in f.remark)
        assert said in remark
    assert "scale them" not in remark


def test_two_causes_are_treated_together_where_neither_treatment_helps_alone(diagnosis):
    def proof(**verdicts):
        return with_proof(diagnosis, *(Trial(name, "", verdict=verdict) for name, verdict in verdicts.items())).proof

    second = ("add_skips", "insert_normalisation", "reinitialise")
    advised = ("another_loss", *second)
    alone = proof(another_loss="no difference", add_skips="no difference", insert_normalisation="hurts",
                  reinitialise="too few runs")  # fmt: skip
    assert _pairs(advised, alone, second) == [("another_loss", "add_skips"), ("another_loss", "reinitialise")]
    assert _pairs(advised, alone) == []
    helped = proof(another_loss="no difference", add_skips="no difference", adam="helps")
    assert _pairs(advised, helped, second) == [("another_loss", "adam")]
    assert _pairs(advised, proof(another_loss="helps", add_skips="too few runs"), second) == []
