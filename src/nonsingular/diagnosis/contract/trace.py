"""Every operation that a model and its loss call, by name, with its arguments, its module and the user's line.

Operations are seen as PyTorch's functions (``TorchFunctionMode``): ``nn.Softmax``, ``F.softmax`` and ``x.softmax`` are
one, and so are ``nn.CrossEntropyLoss`` and ``F.cross_entropy``.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode, resolve_name
from torch.utils._pytree import tree_leaves, tree_map_only

from nonsingular.diagnosis.arithmetic import ADDED, SCALED, in_place

OWN = (str(Path(torch.__file__).parent), str(Path(__file__).parents[2]))
"""Folders whose frames are not the user's."""

VIEWS = {
    "view", "reshape", "squeeze", "unsqueeze", "flatten", "unflatten", "contiguous", "float", "double", "half", "to",
    "type", "type_as", "clone", "__getitem__", "select", "expand", "expand_as", "view_as", "reshape_as", "dropout",
    "alpha_dropout", "feature_dropout", "dropout1d", "dropout2d", "dropout3d", "cpu", "cuda", "masked_select",
    "index_select", "narrow", "chunk", "split", "nan_to_num", "requires_grad_", "ravel", "squeeze_", "unsqueeze_",
}  # fmt: skip
"""Operations that hand on the values they get, or some of them."""

TRANSPOSES = {"transpose", "permute", "movedim", "swapaxes", "t", "T", "mT", "swapdims", "moveaxis", "transpose_"}
WRITING = in_place(ADDED | SCALED)
"""Arithmetic on what it changes; that on a single number is kept as if it had made a new one."""
SILENT = {"dim", "size", "numel", "ndimension", "is_floating_point", "is_complex", "__len__", "stride", "get_device"}


@dataclass(frozen=True)
class Op:
    """One call of a PyTorch function.

    Attributes:
        name: such as ``softmax`` or ``cross_entropy``.
        args, kwargs: as called.
        out: what it returned, None where it failed.
        module: name of the innermost module of the model that was running; "" where none was.
        place: ``file.py:line`` of the user's code that called it, "" where PyTorch's own modules did.
        in_loss: whether the loss called it.
    """

    name: str
    args: tuple[Any, ...]
    kwargs: Mapping[str, Any]
    out: Any
    module: str
    place: str
    in_loss: bool

    def given(self, position: int, name: str, default: Any = None) -> Any:
        """An argument, by position or by name."""
        return self.args[position] if len(self.args) > position else self.kwargs.get(name, default)

    @property
    def tensors(self) -> list[Tensor]:
        """Tensors among the arguments."""
        return [t for t in tree_leaves([self.args, dict(self.kwargs)]) if isinstance(t, Tensor)]

    @property
    def layers(self) -> tuple[str, ...]:
        """The module as the layers of a statistic; none where no module was running."""
        return (self.module,) if self.module else ()

    @property
    def where(self) -> str:
        """The user's line, else the module."""
        return self.place or self.module

    @property
    def told(self) -> str:
        """Name and place, which tell one operation from another."""
        return f"{self.name} at {self.where}"


@dataclass
class Trace(TorchFunctionMode):
    """While it is entered, calls are kept in ``ops``."""

    model: nn.Module
    ops: list[Op] = field(default_factory=list)
    in_loss: bool = False

    def __post_init__(self) -> None:
        TorchFunctionMode.__init__(self)
        self._stack: list[str] = []
        self._hooks = ExitStack()
        self._producers: dict[int, Op] = {}

    def __enter__(self) -> Trace:
        for name, module in self.model.named_modules():
            enter = lambda _m, _i, name=name: self._stack.append(name)  # noqa: E731
            self._hooks.callback(module.register_forward_pre_hook(enter).remove)
            leave = module.register_forward_hook(lambda _m, _i, _o: self._leave(), always_call=True)
            self._hooks.callback(leave.remove)
        return super().__enter__()

    def enter_loss(self) -> None:
        """The model has returned: calls from now on are the loss's."""
        self.in_loss = True

    def _leave(self) -> None:
        if self._stack:
            self._stack.pop()

    def __exit__(self, *error: Any) -> None:
        try:
            super().__exit__(*error)
        finally:
            self._hooks.close()

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Run the function and keep the call."""
        name = _name(func)
        if name in SILENT or name == "__get__":
            return func(*args, **(kwargs or {}))
        out, given = None, tuple(args)
        if name in WRITING and _is_term(args):
            name, given = name.removesuffix("_"), (self._before(args[0]), *args[1:])
        try:
            out = func(*args, **(kwargs or {}))
        finally:
            if out is None or isinstance(out, Tensor | tuple | list):
                module = self._stack[-1] if self._stack else ""
                op = Op(name, given, dict(kwargs or {}), out, module, user_line(), self.in_loss)
                self.ops.append(op)
                for tensor in tree_leaves(out):
                    if isinstance(tensor, Tensor):
                        self._producers[id(tensor)] = op
        return out

    def _before(self, term: Tensor) -> Tensor:
        """What a tensor is before it is changed, with its graph; to all calls until now that is what it was."""
        before = term.clone()
        if before.requires_grad:
            term.copy_(before)  # so that its graph goes through this

        def then(value: Any) -> Any:
            return tree_map_only(Tensor, lambda t: before if t is term else t, value)

        for i, op in enumerate(self.ops):
            if op.out is term or any(t is term for t in op.tensors):
                self.ops[i] = made = replace(op, args=then(op.args), kwargs=then(dict(op.kwargs)), out=then(op.out))
                made_by = [id(t) for t in tree_leaves(op.out) if self.producer(t) is op]
                self._producers |= dict.fromkeys(made_by, made)
        if (former := self.producer(term)) is not None:
            self._producers[id(before)] = former
        return before

    # --- reading it ----------------------------------------------------------------------------------------

    def producer(self, tensor: Any) -> Op | None:
        """The call that returned this tensor."""
        return self._producers.get(id(tensor))

    def last(self) -> Tensor | None:
        """What the last call returned, its first tensor with entries, in double precision."""
        every = (t for op in reversed(self.ops) for t in tree_leaves(op.out) if isinstance(t, Tensor) and t.numel())
        found = next(every, None)
        return None if found is None else found.double()

    def source(self, tensor: Any, through: frozenset[str] | set[str] = frozenset()) -> Op | None:
        """The last call that computed a tensor's values: views of them, and ``through``, are passed over."""
        for op in self.back(tensor):
            if op.name not in VIEWS and op.name not in TRANSPOSES and op.name not in through:
                return op
        return None

    def back(self, tensor: Any) -> Iterator[Op]:
        """The calls behind a tensor, from the last, each by the first tensor among its arguments."""
        for _ in range(len(self.ops)):
            op = self.producer(tensor)
            if op is None:
                return
            yield op
            inputs = [t for t in op.tensors if t is not tensor]
            if not inputs:
                return
            tensor = inputs[0]


def _is_term(args: Sequence[Any]) -> bool:
    """Whether a call changes a single number that is trained, or comes to be: ``loss += penalty``."""
    tensors = [t for t in args if isinstance(t, Tensor)]
    if not tensors or tensors[0] is not args[0] or tensors[0].numel() != 1 or not torch.is_grad_enabled():
        return False
    return not (tensors[0].is_leaf and tensors[0].requires_grad) and any(t.requires_grad for t in tensors)


def _name(func: Any) -> str:
    name = getattr(func, "__name__", str(func))
    if name == "__get__":  # a property: only those that return other axes matter
        prop = (resolve_name(func) or "").split(".")[-2:-1]
        return prop[0] if prop and prop[0] in ("T", "mT", "H", "mH") else "__get__"
    return str(name)


def user_line() -> str:
    """``file.py:line`` of the innermost frame that is the user's; "" where PyTorch's own modules called."""
    frame: Any = sys._getframe(2)
    while frame is not None:
        file = frame.f_code.co_filename
        if file.startswith(OWN[1]):
            return ""
        if not file.startswith(OWN[0]) and not file.startswith("<"):
            return f"{Path(file).name}:{frame.f_lineno}"
        frame = frame.f_back
    return ""
