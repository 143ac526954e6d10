"""Two processes, each with a part of the data, against one with all of it."""

from datetime import timedelta

import numpy as np
import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing as mp
import torch.nn.functional as F
from torch import nn

from nonsingular.curvature import (
    Distributed,
    GaussNewton,
    Hessian,
    Lanczos,
    Lockstep,
    diagonal,
    eigenpairs,
    room,
    spectrum,
    trace,
)
from nonsingular.curvature.distributed import Spread
from nonsingular.errors import InputError
from processes import server

WORLD = 2


def model():
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(6, 12), nn.Tanh(), nn.Linear(12, 4)).double()


def batches():
    generator = torch.Generator().manual_seed(1)
    sizes = (20, 12, 30)  # the processes' shares differ
    return [(torch.randn(n, 6, generator=generator).double(), torch.arange(n) % 4) for n in sizes]


def ignored():
    """Batches in which half of the targets are ignored, but for the first."""
    return [(x, torch.where((torch.arange(len(y)) % 2 > 0) & (i > 0), -100, y)) for i, (x, y) in enumerate(batches())]


def vectors():
    return torch.randn(136, 3, generator=torch.Generator().manual_seed(2), dtype=torch.float64)


def everything(operators):
    """All that is compared, from a Hessian, one of a summed loss, and a Gauss-Newton matrix."""
    mean, total, gauss = operators
    found = [mean @ vectors(), mean @ vectors()[:, 0], total @ vectors(), gauss @ vectors()]
    counts = [spectrum(mean, 0.01, "exact"), spectrum(mean, 0.01, "lanczos"), spectrum(mean, 0.01, "moments")]
    return found, [(s.degenerate.count, s.negative.count, s.positive.count, *s.degenerate.interval) for s in counts]


def summed(output, target):
    return F.cross_entropy(output, target, reduction="sum")


def operators(data, wrap=lambda operator, reduction: operator):
    return (
        wrap(Hessian(model(), F.cross_entropy, data), "mean"),
        wrap(Hessian(model(), summed, data, reduction="sum"), "sum"),
        wrap(GaussNewton(model(), F.cross_entropy, data), "mean"),
    )


def kept(mean):
    """A Lanczos process, what it keeps, and a second one beside what the first has found."""
    process = Lanczos(mean, vectors()[:, 0])
    process.extend(20)
    found = process.ritz_vectors(np.array([0, 19]))
    beside = Lanczos(mean, vectors()[:, 1], found)
    beside.extend(8)
    lockstep = Lockstep(mean, vectors()[:, :2], found)
    lockstep.extend(8)
    numbers = [process.alpha, process.beta, beside.alpha, *(p.alpha for p in lockstep.processes)]
    return process.basis.clone(), found, torch.tensor(np.concatenate(numbers))


def beside_a_full_one(D, rank):
    """What is decided by the memory, where the second process has room for 30 vectors only and the first for many."""
    there = room.available_bytes
    room.available_bytes = lambda device: (30.5 if rank else 1e6) * 8 * D.shape[0] / room.SHARE
    try:
        part = D.block(range(100))
        found = [trace(D, products=60, method="hutchinson").value, *diagonal(2 * D, products=30).values.tolist()]
        found += [eigenpairs(D + 0.1, 1).values[0].item(), trace(part, products=60, method="hutchinson").value]
        found += [spectrum(A, 0.01, "lanczos", seconds=0.2).products for A in (D + 0.1, part)]
        with pytest.raises(InputError, match="the search for eigenpairs"):
            eigenpairs(D @ D, 9)
    finally:
        room.available_bytes = there
    return found


def _process(rank, folder):
    torch.set_num_threads(1)
    minute = timedelta(minutes=1)
    dist.init_process_group("gloo", f"file://{folder}/meet", minute, rank=rank, world_size=WORLD)
    mine = operators(batches()[rank::WORLD], Distributed)
    held = sum(len(operator.local.problem.batches) for operator in mine)
    torch.save((everything(mine), held), f"{folder}/{rank}.pt")
    torch.save(kept(mine[0]), f"{folder}/kept-{rank}.pt")
    torch.save(beside_a_full_one(mine[0], rank), f"{folder}/full-{rank}.pt")
    odd = torch.arange(14.0).view(7, 2)
    cuts = Spread(7, torch.device("cpu"))
    torch.save((cuts.part(odd).clone(), cuts.whole(cuts.part(odd)), cuts.least(3.0 - rank)), f"{folder}/odd-{rank}.pt")
    some = ignored()[rank::WORLD]
    torch.save(
        Distributed(Hessian(model(), F.cross_entropy, some, weights="tokens")) @ vectors(), f"{folder}/some-{rank}"
    )
    try:
        Distributed(Hessian(model(), F.cross_entropy, some))
    except InputError as error:
        torch.save(str(error), f"{folder}/unsaid-{rank}")
    try:
        Distributed(Hessian(model()[: 1 + 2 * rank], lambda o, t: o.square().mean(), batches()[:1]))
    except InputError as error:
        torch.save(str(error), f"{folder}/error-{rank}.pt")
    dist.destroy_process_group()


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("gloo")
    server()  # whose processes have loaded the libraries
    mp.start_processes(_process, (str(folder),), WORLD, start_method="forkserver")
    return folder


def test_the_numbers_are_those_of_one_process(folder):
    products, counts = everything(operators(batches()))
    for rank in range(WORLD):
        (found, found_counts), _ = torch.load(folder / f"{rank}.pt")
        torch.testing.assert_close(found, products, rtol=1e-12, atol=1e-14)
        for one, other in zip(found_counts, counts, strict=True):
            assert one == pytest.approx(other, rel=1e-6)


def test_all_processes_get_the_same_bits(folder):
    (first, counts), _ = torch.load(folder / "0.pt")
    (second, others), _ = torch.load(folder / "1.pt")
    assert all(torch.equal(a, b) for a, b in zip(first, second, strict=True))
    assert counts == others


def test_all_processes_decide_by_the_least_memory(folder):
    first, second = (torch.load(folder / f"full-{rank}.pt") for rank in range(WORLD))
    assert first == second
    assert len(first) == 1 + 136 + 4


def test_a_process_keeps_its_own_batches_only(folder):
    batches_kept = [torch.load(folder / f"{rank}.pt")[1] for rank in range(WORLD)]
    assert batches_kept == [6, 3]  # three operators over two batches and over one


def test_the_basis_is_spread_by_rows(folder):
    basis, found, numbers = kept(operators(batches())[0])
    parts = [torch.load(folder / f"kept-{rank}.pt") for rank in range(WORLD)]
    assert [len(p[0].T) for p in parts] == [68, 68]  # of 136 entries of every vector
    torch.testing.assert_close(torch.cat([p[0] for p in parts], 1), basis, rtol=1e-8, atol=1e-8)
    torch.testing.assert_close(torch.cat([p[1] for p in parts]), found, rtol=1e-8, atol=1e-8)
    for part in parts:
        torch.testing.assert_close(part[2], numbers, rtol=1e-9, atol=1e-12)
    assert torch.equal(parts[0][2], parts[1][2])


def test_vectors_that_do_not_divide_evenly_come_together_again(folder):
    parts = [torch.load(folder / f"odd-{rank}.pt") for rank in range(WORLD)]
    assert [len(p[0]) for p in parts] == [4, 3]
    for _, whole, least in parts:
        assert torch.equal(whole, torch.arange(14.0).view(7, 2))
        assert least == 2.0


def test_weights_that_differ_between_processes_are_said_or_asked_for(folder):
    expected = Hessian(model(), F.cross_entropy, ignored()) @ vectors()
    for rank in range(WORLD):
        torch.testing.assert_close(torch.load(folder / f"some-{rank}"), expected)
        assert "give all of them the same weights='samples'" in torch.load(folder / f"unsaid-{rank}")


def test_different_models_are_refused(folder):
    for rank in range(WORLD):
        assert "differ in size" in torch.load(folder / f"error-{rank}.pt")


def test_without_a_process_group_the_message_says_what_is_missing():
    with pytest.raises(InputError, match="init_process_group"):
        Distributed(Hessian(model(), F.cross_entropy, batches()))
