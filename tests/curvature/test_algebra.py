"""Operators as matrices: sums, multiples, transposes, parts, and vectors in every form."""

from fractions import Fraction

import numpy as np
import pytest
import torch
from models import case
from torch.func import stack_module_state

from nonsingular.curvature import GaussNewton, Hessian, PopulationHessian
from nonsingular.errors import InputError

MODEL, LOSS, BATCHES = case("residual tanh")
H, G = Hessian(MODEL, LOSS, BATCHES), GaussNewton(MODEL, LOSS, BATCHES)
DENSE, DENSE_G = H.dense(), G.dense()
EYE = torch.eye(H.shape[0], dtype=torch.float64)
VECTOR = torch.randn(H.shape[0], generator=torch.Generator().manual_seed(0), dtype=torch.float64)


def test_printed_operators_say_what_they_are():
    size, number = f"{H.shape[0]} x {H.shape[0]}, float64", len(BATCHES)
    assert repr(H) == f"Hessian({size}, {number} batch{'es' if number > 1 else ''}, mode: evaluation)"
    assert repr(G).startswith("GaussNewton(")
    assert repr(2 * H - G + 0.5) == f"Combination({size}, 2 * Hessian + -1 * GaussNewton + 0.5)"
    assert repr(PopulationHessian(MODEL, stack_module_state([MODEL] * 3)[0], LOSS, BATCHES)).startswith(
        f"PopulationHessian(3 x {size}"
    )


@pytest.mark.parametrize(
    ("operator", "matrix"),
    [
        (H.T, DENSE),
        (H + 0.5, DENSE + 0.5 * EYE),
        (0.5 + H, DENSE + 0.5 * EYE),
        (H - 0.5, DENSE - 0.5 * EYE),
        (2 - H, 2 * EYE - DENSE),
        (3 * H, 3 * DENSE),
        (H * torch.tensor(3.0), 3 * DENSE),
        (torch.tensor(3.0) * H, 3 * DENSE),
        (np.float64(3) * H, 3 * DENSE),
        (H * np.array(3), 3 * DENSE),
        (H * Fraction(3), 3 * DENSE),
        (-H / 4, -DENSE / 4),
        (H - G, DENSE - DENSE_G),
        (2 * (H + 1) + (G - H) / 2 - 3, 1.5 * DENSE + 0.5 * DENSE_G - EYE),
    ],
)
def test_sums_and_multiples(operator, matrix):
    torch.testing.assert_close(operator @ VECTOR, matrix @ VECTOR)
    torch.testing.assert_close(operator @ EYE[:, :3], matrix[:, :3])
    torch.testing.assert_close(operator.dense(), matrix)
    np.testing.assert_allclose(operator.to_scipy() @ VECTOR.numpy(), (matrix @ VECTOR).numpy(), atol=1e-12)
    np.testing.assert_allclose(operator.to_scipy().T @ VECTOR.numpy(), (matrix @ VECTOR).numpy(), atol=1e-12)


def test_from_the_left():
    torch.testing.assert_close(VECTOR @ H, VECTOR @ DENSE)
    torch.testing.assert_close(EYE[:3] @ (H + 1), (DENSE + EYE)[:3])
    torch.testing.assert_close(VECTOR.numpy() @ H, VECTOR @ DENSE)
    torch.testing.assert_close(torch.matmul(VECTOR, H), VECTOR @ DENSE)


def test_vectors_of_the_parameters_shapes_come_back_in_their_form():
    parts = [torch.randn_like(p) for p in MODEL.parameters()]
    named = dict(zip(dict(MODEL.named_parameters()), parts, strict=True))
    flat = DENSE @ torch.cat([p.flatten() for p in parts])
    by_name, by_order = H @ dict(reversed(named.items())), H @ parts
    assert list(by_name) == list(named)
    for tensors in (list(by_name.values()), by_order, (H + 0.0) @ tuple(parts), list((named @ H).values())):
        assert [t.shape for t in tensors] == [p.shape for p in parts]
        torch.testing.assert_close(torch.cat([t.flatten() for t in tensors]), flat)


@pytest.mark.parametrize("choice", ["stem", "*.bias", ["head.bias", "layers.1"]])
def test_blocks_are_those_of_the_matrix(choice):
    block = H.block(choice)
    whole = H.layout.slices(choice)
    rows = torch.cat([torch.arange(s.start, s.stop) for s in whole.values()])
    torch.testing.assert_close(block.dense(), DENSE[rows][:, rows])
    torch.testing.assert_close((2 * block + 1).dense(), 2 * DENSE[rows][:, rows] + torch.eye(len(rows)))
    torch.testing.assert_close(block.dense(), Hessian(MODEL, LOSS, BATCHES, params=list(whole)).dense())
    named = block @ {n: torch.ones(s.stop - s.start).reshape(dict(MODEL.named_parameters())[n].shape)
                     for n, s in whole.items()}  # fmt: skip
    torch.testing.assert_close(torch.cat([t.flatten() for t in named.values()]), DENSE[rows][:, rows].sum(1))


def test_populations_are_block_diagonal_for_scipy():
    models = [case("residual tanh")[0], MODEL]
    with torch.no_grad():
        models[0].stem.weight.mul_(2)
    P = PopulationHessian(MODEL, stack_module_state(models)[0], LOSS, BATCHES)
    expected = torch.block_diag(*[P.member(i).dense() for i in range(2)])
    operator = P.to_scipy()
    np.testing.assert_allclose(operator @ np.eye(len(expected))[:, ::7], expected[:, ::7], atol=1e-10)
    np.testing.assert_allclose(operator.T @ np.ones(len(expected)), expected.sum(1), atol=1e-10)


@pytest.mark.parametrize(
    ("act", "message"),
    [
        (lambda: H @ torch.ones(3), r"got \[3\]"),
        (lambda: H @ {"stem.weight": torch.ones(4, 6)}, "missing or too much"),
        (lambda: H @ [torch.ones(2)], "parameters' shapes"),
        (lambda: H * H, "products are A @ v"),
        (lambda: H + torch.ones(3), "adds numbers"),
        (lambda: H + "0.1", "adds numbers .* got str"),
        (lambda: H - "0.1", "adds numbers .* got str"),
        (lambda: H + np.array("0.1"), "adds numbers .* got ndarray"),
        (lambda: H + np.array([0.1]), "adds numbers .* got ndarray"),
        (lambda: H + torch.tensor(1j), "adds numbers .* got Tensor"),
        (lambda: H * "2", "multiplied by numbers, got str"),
        (lambda: H / "2", "divided by numbers, got str"),
        (lambda: H / 0, "divided by zero"),
        (lambda: H + H.block("stem"), "cannot be added"),
        (lambda: H + Hessian(MODEL, LOSS, BATCHES, params=[*reversed(H.layout.names)]), "another order"),
        (lambda: H.block("neck"), "no 'neck'"),
    ],
)
def test_what_cannot_be_is_said_in_one_line(act, message):
    with pytest.raises(InputError, match=message) as caught:
        act()
    assert "\n" not in str(caught.value)
