"""Jacobians of outputs, against row by row differentiation in float64; what is made of operators not square."""

import numpy as np
import pytest
import torch
from models import NAMES, case
from torch import nn
from torch.func import functional_call
from torch.nn import functional as F
from torch.nn.attention import SDPBackend, sdpa_kernel

import nonsingular as ns
from nonsingular.curvature import GaussNewton, Hessian, Jacobian, Symmetric, eigenpairs, trace
from nonsingular.errors import InputError

MODEL, LOSS, BATCHES = case("several batches")
J = Jacobian(MODEL, BATCHES)
H = Hessian(MODEL, LOSS, BATCHES)
OBJECTIVE = ns.Objective(MODEL, LOSS, BATCHES)


def reference(model, inputs, of=lambda output: output):
    """Gradients of the outputs one by one."""
    parameters = list(model.parameters())
    frozen = [m for m in model.modules() if isinstance(m, nn.BatchNorm2d) and m.training]
    for m in frozen:  # the batch's statistics, and no updates
        m.track_running_stats = False
    rows = []
    with sdpa_kernel(SDPBackend.MATH):
        for x in inputs:
            for z in of(functional_call(model, dict(model.named_parameters()), (x,))).flatten():
                parts = torch.autograd.grad(z, parameters, retain_graph=True, materialize_grads=True)
                rows.append(torch.cat([p.flatten() for p in parts]))
    for m in frozen:
        m.track_running_stats = True
    return torch.stack(rows)


DENSE = reference(MODEL, [x for x, _ in BATCHES])


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("linearise", [True, False])
def test_jacobians_are_those_of_the_outputs_from_both_sides(name, linearise):
    model, _, batches = case(name)
    expected = reference(model, [x for x, _ in batches])
    found = Jacobian(model, batches, linearise=linearise, mode="own")
    assert found.linearised == linearise
    torch.testing.assert_close(found.dense(), expected)
    torch.testing.assert_close(found.T.dense(), expected.T)
    v = torch.randn(found.shape[1], 3, dtype=torch.float64)
    torch.testing.assert_close(found @ v, expected @ v)
    torch.testing.assert_close(found @ v[:, 0], expected @ v[:, 0])
    u = torch.randn(found.shape[0], 2, dtype=torch.float64)
    torch.testing.assert_close(found.T @ u, expected.T @ u)
    torch.testing.assert_close(u[:, 0] @ found, expected.T @ u[:, 0])
    torch.testing.assert_close(u.T @ found, u.T @ expected)


def test_vectors_by_name_answer_by_batch_and_back():
    v = {n: torch.randn_like(p) for n, p in MODEL.named_parameters()}
    flat = torch.cat([t.flatten() for t in v.values()])
    change = J @ v
    assert {n: tuple(z.shape) for n, z in change.items()} == {"0": (9, 3), "1": (4, 3), "2": (1, 3)}
    torch.testing.assert_close(torch.cat([z.flatten() for z in change.values()]), DENSE @ flat)
    assert [z.shape for z in J @ list(v.values())] == [z.shape for z in change.values()]
    back = J.T @ change
    assert list(back) == list(v)
    torch.testing.assert_close(torch.cat([t.flatten() for t in back.values()]), DENSE.T @ (DENSE @ flat))


def test_scipy_takes_them():
    from scipy.sparse.linalg import lsmr, svds

    operator = J.to_scipy()
    np.testing.assert_allclose(operator.T @ np.ones(len(DENSE)), DENSE.sum(0), atol=1e-12)
    np.testing.assert_allclose(svds(operator, 2)[1][::-1], torch.linalg.svdvals(DENSE)[:2], rtol=1e-8)
    wanted = DENSE @ torch.ones(DENSE.shape[1], dtype=torch.float64)
    found = lsmr(operator, wanted.numpy(), atol=1e-12, btol=1e-12, conlim=0, maxiter=1000)[0]
    np.testing.assert_allclose(operator @ found, wanted, atol=1e-6)


@pytest.mark.parametrize(
    ("operator", "matrix"),
    [
        (lambda: 2 * J - J / 4, 1.75 * DENSE),
        (lambda: (3 * J).T, 3 * DENSE.T),
        (lambda: J @ H, DENSE @ H.dense()),
        (lambda: (J @ H).T, H.dense() @ DENSE.T),
        (lambda: J.T @ J + H, DENSE.T @ DENSE + H.dense()),
        (lambda: H @ H, H.dense() @ H.dense()),
        (lambda: J.block("1", "head"), DENSE[27:39, -15:]),
        (lambda: J.block(slice(None), [0, 5]), DENSE[:, [0, 5]]),
        (lambda: J.T.block("stem.bias", "0"), DENSE.T[24:28, :27]),
        (lambda: H.block("stem", "*.bias"), H.dense()[:28][:, torch.cat([torch.arange(s.start, s.stop)
         for s in H.layout.slices("*.bias").values()])]),
        (lambda: H.block("stem", "head").T, H.dense()[-15:, :28]),
        (lambda: H.block(range(4), slice(90, None)), H.dense()[:4, 90:]),
    ],
)  # fmt: skip
def test_what_is_made_of_them(operator, matrix):
    made = operator()
    assert made.shape == tuple(matrix.shape)
    torch.testing.assert_close(made.dense(), matrix)
    torch.testing.assert_close(made.T.dense(), matrix.T)
    u = torch.linspace(-1, 1, len(matrix), dtype=torch.float64)
    torch.testing.assert_close(u @ made, u @ matrix)


def test_blocks_off_the_diagonal_take_and_give_names():
    block = H.block("stem", ["head.bias"])
    answer = block @ {"head.bias": torch.ones(3, dtype=torch.float64)}
    assert {n: tuple(t.shape) for n, t in answer.items()} == {"stem.weight": (4, 6), "stem.bias": (4,)}
    torch.testing.assert_close(torch.cat([t.flatten() for t in answer.values()]), H.dense()[:28, -3:].sum(1))
    assert repr(block) == "Submatrix(28 x 3, float64, of a Hessian of 103)"


def test_kernels_are_symmetric_and_do_what_symmetric_ones_can():
    kernel = J @ J.T
    assert isinstance(kernel, Symmetric)
    assert repr(kernel) == "Gram(42 x 42, float64, Jacobian @ Transposed)"
    torch.testing.assert_close(kernel.dense(), DENSE @ DENSE.T)
    torch.testing.assert_close(kernel.eigenpairs(2).values, torch.linalg.eigvalsh(DENSE @ DENSE.T).flip(0)[:2])
    assert kernel.block("0").shape == (27, 27)


def test_gauss_newton_is_made_of_it():
    model, _, batches = case("tied weights")
    G, A = GaussNewton(model, F.mse_loss, batches), Jacobian(model, batches)
    torch.testing.assert_close(2 / A.shape[0] * (A.T @ A).dense(), G.dense())


class Two(nn.Module):
    def __init__(self):
        super().__init__()
        self.body, self.head = nn.Linear(4, 3), nn.Linear(3, 2)

    def forward(self, x):
        hidden = torch.tanh(self.body(x))
        return {"hidden": hidden, "logits": self.head(hidden), "steps": torch.tensor([3])}


def test_what_of_the_output_is_meant():
    model, x = Two().double(), torch.randn(5, 4, dtype=torch.float64)
    everything = Jacobian(model, x)
    assert everything.rows.names == ("0.0", "0.1")
    expected = torch.cat([reference(model, [x], lambda out, k=k: out[k]) for k in ("hidden", "logits")])
    torch.testing.assert_close(everything.dense(), expected)
    logits = Jacobian(model, [x[:2], x[2:]], outputs=lambda out: out["logits"], params="head")
    torch.testing.assert_close(logits.dense(), expected[15:, -8:])
    objective = ns.Objective(model, lambda out, y: out["logits"].square().mean(), [(x, torch.zeros(5))])
    torch.testing.assert_close(Jacobian(objective).dense(), expected)


def test_both_sides_share_the_memory():
    whole = Jacobian(MODEL, BATCHES)
    assert whole.linearised
    room = 0.75 * whole.nbytes
    some = Jacobian(MODEL, BATCHES, memory=room)
    with pytest.warns(UserWarning, match="memory is short"):
        assert not some.linearised
    assert whole.nbytes / 2 - 1 <= some.nbytes <= room
    torch.testing.assert_close(some.T.dense(), DENSE.T)


def test_an_untouched_model_and_its_copy():
    model, x = nn.Linear(3, 2), torch.randn(4, 3)
    found = Jacobian(model, x)
    before = found.dense()
    with torch.no_grad():
        model.weight.zero_()
    x.zero_()
    torch.testing.assert_close(found.dense(), before)


class Dropped(nn.Module):
    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(3, 2)

    def forward(self, x):
        return F.dropout(self.layer(x), 0.5)


class Number(nn.Linear):
    def forward(self, x):
        return super().forward(x).argmax(1)


BAD = {
    "sizes": (lambda: J @ torch.ones(5), r"expected a vector \[103\]"),
    "sizes of the transpose": (lambda: J.T @ torch.ones(5), r"expected a vector \[42\]"),
    "names of outputs": (lambda: J.T @ {"first": torch.ones(9, 3)}, "every output once"),
    "shapes of outputs": (lambda: J.T @ [torch.ones(9, 3)], "the outputs' shapes"),
    "diagonal": (lambda: J + 0.1, r"the diagonal, which an operator \[42, 103\] has not"),
    "sum": (lambda: J + J.T, "cannot be added"),
    "product": (lambda: J @ J, "cannot be multiplied"),
    "no such batch": (lambda: J.block("7", "stem"), "no '7'"),
    "no such column": (lambda: J.block([0], [103]), "columns are numbered 0 to 102"),
    "no names": (lambda: H.block([0, 1], [2]).block("stem", [0]), "its rows have no names"),
    "trace": (lambda: trace(J), r"needs a symmetric matrix, got Jacobian \[42, 103\]; of any operator A, A.T @ A"),
    "square but not symmetric": (lambda: eigenpairs(H.block([0, 1], [2, 3])), "needs a symmetric matrix"),
    "no numbers": (lambda: Jacobian(Number(3, 2), torch.ones(4, 3)), "the model returns no real numbers but Tensor"),
    "nothing meant": (lambda: Jacobian(Two(), torch.ones(2, 4), outputs=lambda out: out["steps"]), "outputs= gives no"),
    "detached": (
        lambda: Jacobian(nn.Linear(3, 2), torch.ones(4, 3), outputs=lambda out: out.detach()),
        "the model's output does not depend on the chosen parameters",
    ),
    "not found": (
        lambda: Jacobian(MODEL, BATCHES, outputs=lambda out: out.logits),
        "outputs= failed on what the model returns: AttributeError: 'Tensor' object has no attribute 'logits' ",
    ),
    "objective's precision": (lambda: Jacobian(OBJECTIVE, dtype=torch.float32), "has its dtype already"),
    "objective's seed": (lambda: Jacobian(OBJECTIVE, seed=3), "has its seed already"),
    "nothing meant of an objective's": (
        lambda: Jacobian(OBJECTIVE, outputs=lambda out: out.argmax(1)),
        "outputs= gives no real numbers but Tensor",
    ),
    "detached from an objective's": (
        lambda: Jacobian(OBJECTIVE, outputs=lambda out: out.detach()),
        "the model's output does not depend on the chosen parameters",
    ),
    "not found in an objective's": (
        lambda: Jacobian(OBJECTIVE, outputs=lambda out: out.logits),
        "outputs= failed on what the model returns",
    ),
    "no data": (
        lambda: Jacobian(ns.Objective(nn.Linear(2, 1), lambda model, batch: model.weight.square().sum())),
        "failed on the first batch",
    ),
    "random": (lambda: Jacobian(Dropped(), torch.ones(4, 3)), "seed="),
    "batches twice": (lambda: Jacobian(ns.Objective(MODEL, LOSS, BATCHES), BATCHES), "has its batches already"),
}


@pytest.mark.parametrize("what", BAD)
def test_one_clear_error(what):
    act, message = BAD[what]
    with pytest.raises(InputError, match=message) as caught:
        act()
    assert "\n" not in str(caught.value)
