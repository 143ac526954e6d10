"""Linear functions of tensors recorded once and replayed many times.

A Hessian-vector product by ``jvp(grad(loss))`` spends half its time on what does not depend on the vector: the
forward pass, the gradient, and the bookkeeping of both. `record` runs such a function once, keeps only the ATen calls
that the vector reaches, and takes everything else as constants. `torch.func.linearize` has the same aim, but traces
all calls symbolically: ten times slower to build for a ResNet-20 (benchmarks/test_hessian_products.py).
"""

from __future__ import annotations

import copy
import operator
import warnings
from collections import defaultdict
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, fx
from torch.multiprocessing.reductions import StorageWeakRef
from torch.utils._pytree import tree_flatten, tree_unflatten
from torch.utils.weak import WeakTensorKeyDictionary

from nonsingular import onednn
from nonsingular.curvature.simplify import (
    LARGE,
    convolves,
    is_large_product,
    join_convolutions,
    simplify,
    speed_up_products,
)
from nonsingular.dispatch import Dispatch

_SUMS = (torch.ops.aten.add.Tensor, torch.ops.aten.sub.Tensor)
_OF_A_SHAPE = (torch.ops.aten.zeros_like.default, torch.ops.aten.new_zeros.default)
"""Calls that take nothing of a tensor but its shape and type."""
_VIEWS = (torch.ops.aten.view.default, torch.ops.aten._unsafe_view.default)


class NotLinearisable(RuntimeError):
    """The function cannot be recorded; the message says why."""


class OverBudget(NotLinearisable):
    """The constants of the recording do not fit the memory allowed."""


class _Shared(NotLinearisable):
    """A call writes into memory that stands for what another tensor holds."""


class LinearMap:
    """A recorded linear function: tuple of tensors -> tuple of tensors.

    Attributes:
        graph: the recorded calls; takes the constants, then the inputs.
        constants: what the calls read besides the inputs.
        widest: bytes of the largest intermediate tensor, to judge how many inputs fit side by side.
        large: whether it has products that oneDNN computes where it is called alone.
    """

    def __init__(self, graph: fx.GraphModule, constants: list[Tensor], widest: int) -> None:
        self.graph = graph
        self.constants = constants
        self.widest = widest
        on_cpu = all(c.device.type == "cpu" for c in constants)
        self._stackable = _reshaping(graph)
        rewrites = [join_convolutions] if on_cpu and convolves(graph.graph) else []
        self._compilable = _rewritten(self._stackable, rewrites)
        self.large = on_cpu and onednn.available() and any(node.meta.get(LARGE) for node in graph.graph.nodes)
        rewrites = [speed_up_products] if self.large else []
        self._call: Callable[..., Any] = _rewritten(self._compilable, rewrites)

    def __call__(self, *inputs: Tensor) -> tuple[Tensor, ...]:
        """The function at ``inputs``, tensors of the shapes it was recorded with."""
        with torch.no_grad():
            return tuple(self._call(*self.constants, *inputs))

    def stacked(self, *inputs: Tensor) -> tuple[Tensor, ...]:
        """The function at several inputs at once, stacked on a leading axis."""
        dims = (None,) * len(self.constants) + (0,) * len(inputs)
        with torch.no_grad():
            return tuple(torch.vmap(self._stackable, in_dims=dims)(*self.constants, *inputs))

    def compile(self, like: LinearMap | None = None) -> None:
        """Fuse the calls with ``torch.compile``; ``like`` lends its compiled code where the calls are the same."""
        if like is not None and like.graph.code == self.graph.code:
            self._call = like._call
        else:
            self._call = torch.compile(self._compilable, fullgraph=True, dynamic=False)

    @property
    def nbytes(self) -> int:
        """Memory of the constants, bytes."""
        return sum(size for _, size in {_storage(c) for c in self.constants})


def record(function: Callable[..., Sequence[Tensor]], inputs: Sequence[Tensor], budget: float) -> LinearMap:
    """Record ``function``, which must be linear in all of its inputs.

    Args:
        function: tensors -> sequence of tensors.
        inputs: tensors of the shapes and memory formats that it will be called with; their values do not matter.
        budget: bytes that the constants may take.

    Raises:
        NotLinearisable: a call branches on the inputs' values or writes where a replay could not.
        OverBudget: the constants are larger than ``budget``.
    """
    inputs = [t.detach() for t in inputs]
    try:
        return _recorded(function, inputs, budget, share=True)
    except _Shared:  # as LSTMs and circular padding do
        return _recorded(function, inputs, budget, share=False)


def _recorded(
    function: Callable[..., Sequence[Tensor]], inputs: Sequence[Tensor], budget: float, share: bool
) -> LinearMap:
    recorder = _Recorder(inputs, budget, share)
    with torch.no_grad(), recorder:
        outputs = function(*inputs)
    return recorder.finish(outputs)


def _rewritten(module: fx.GraphModule, rewrites: Sequence[Callable[[fx.Graph], None]]) -> fx.GraphModule:
    if not rewrites:
        return module
    module = copy.deepcopy(module)
    for rewrite in rewrites:
        rewrite(module.graph)
    module.recompile()
    return module


def _reshaping(module: fx.GraphModule) -> fx.GraphModule:
    """The module with views that may copy: stacked tensors, or joined convolutions, need not have the recorded strides.

    Memory that some call writes into keeps its views.
    """
    module = copy.deepcopy(module)
    owner: dict[fx.Node, fx.Node] = {}  # node -> the first that looked into its memory
    written: set[fx.Node] = set()
    for node in module.graph.nodes:
        owner[node] = node
        if node.op != "call_function" or not isinstance(node.target, torch._ops.OpOverload):
            continue
        for argument, value in zip(node.target._schema.arguments, node.args, strict=False):
            if argument.alias_info is not None and isinstance(value, fx.Node):
                owner[node] = owner[value]
                if argument.alias_info.is_write:
                    written.add(owner[value])
    for node in module.graph.nodes:
        if node.target in _VIEWS and owner[node] not in written and owner[node.args[0]] not in written:
            node.target = torch.ops.aten.reshape.default
    module.recompile()
    return module


def _storage(tensor: Tensor) -> tuple[int, int]:
    # Efficient zero tensors, which forward differentiation uses for absent tangents, have no memory.
    if tensor._is_zerotensor():
        return 0, 0
    storage = tensor.untyped_storage()
    return storage.data_ptr(), storage.nbytes()


def _reference(tensor: Tensor) -> StorageWeakRef:
    """Equal for tensors that share memory; unlike an address it is not used again for others."""
    return StorageWeakRef(tensor.untyped_storage())


def _dense(tensor: Tensor) -> bool:
    return torch.ops.aten.is_non_overlapping_and_dense.default(tensor)


class _Recorder(Dispatch):
    """Sees every ATen call below the function transforms; writes down those that the inputs reach.

    With ``share`` a copy is the node of what it copies, which spares the copying but not every model allows.
    """

    def __init__(self, inputs: Sequence[Tensor], budget: float, share: bool) -> None:
        super().__init__()
        self.share = share
        self.graph = fx.Graph()
        self.node: Any = WeakTensorKeyDictionary()  # tensor that depends on the inputs -> graph node
        self.constant: Any = WeakTensorKeyDictionary()  # constant in use -> graph node
        self.constants: list[tuple[fx.Node, Tensor, int]] = []  # with the version at the time of use
        self.held: dict[int | None, list[int]] = defaultdict(list)  # address of a storage -> its constants' numbers
        self.seen: set[tuple[int, int]] = set()  # storages of the constants
        self.shared: set[StorageWeakRef] = set()  # storages of tensors that stand for one node with others
        self.viewed: set[StorageWeakRef] = set()  # storages that recorded views look into
        self.overwritten: set[int] = set()  # storages of constants into which a recorded call wrote
        self.nbytes, self.budget, self.widest = 0, budget, 1
        self.inputs = list(inputs)
        self.input_nodes = []
        for i, tensor in enumerate(inputs):
            self.node[tensor] = node = self.graph.placeholder(f"input_{i}")
            self.input_nodes.append(node)
        self.input_storages = {_storage(t)[0] for t in inputs}

    def dispatched(self, func: Any, args: Any, kwargs: Any) -> Any:
        """Run it, and write it down if an input reaches it."""
        leaves, structure = tree_flatten((args, kwargs))
        tensors = [x for x in leaves if isinstance(x, Tensor)]
        if not any(t in self.node for t in tensors):
            self._refuse_stale(tensors)
            self._keep_what_changes(self._written(func, args, kwargs))
            if func is torch.ops.aten._efficientzerotensor.default:  # cannot be written to, and crashes mul.Scalar
                return torch.zeros(*args, **kwargs)
            return func(*args, **kwargs)
        if func is torch.ops.aten._local_scalar_dense.default:
            raise NotLinearisable("the model's flow of control depends on a derivative's value")
        if func in _OF_A_SHAPE:  # whatever the values: a constant
            return func(*args, **kwargs)
        if self.share and not kwargs and (same := self._unchanged(func, *args)) is not None:
            return self._stand_for(same.clone(), same)
        if self.share and func is torch.ops.aten.copy_.default and self._replaces(*args):
            return self._stand_for(func(*args), args[1])
        written = self._written(func, args, kwargs)
        self._check_writes(written)
        call_args, call_kwargs = tree_unflatten(
            [self._as_node(x, x in written) if isinstance(x, Tensor) else x for x in leaves], structure
        )
        out = func(*args, **kwargs)
        results = [x for x in tree_flatten(out)[0] if isinstance(x, Tensor)]
        if results or written:
            node = self.graph.call_function(func, call_args, call_kwargs)
            node.meta[LARGE] = is_large_product(func, args)
            self._name_results(node, out, written)
            if not written and func is not torch.ops.aten._unsafe_view.default:  # which promises that nobody else looks
                self.viewed |= {_reference(t) for t in results} & {_reference(t) for t in tensors if t in self.node}
            sizes = [t.numel() * t.element_size() for t in results]
            self.widest = max(self.widest, *sizes, 1)
        return out

    def _unchanged(self, func: Any, *args: Any) -> Tensor | None:
        """The tensor that a call gives back: a copy's, or the linear one of two summands.

        In a linear function the other summand, a constant, is zero.
        """
        same = None
        if func is torch.ops.aten.clone.default:
            same = args[0]
        elif func in _SUMS:
            for linear, constant in (args, args[::-1]) if func is torch.ops.aten.add.Tensor else (args,):
                if isinstance(constant, Tensor) and constant not in self.node and linear.dtype == constant.dtype:
                    same = linear if torch.broadcast_shapes(linear.shape, constant.shape) == linear.shape else None
        return same if same is not None and _dense(same) else None

    def _replaces(self, target: Tensor, source: Tensor, *_: Any) -> bool:
        """Whether a copy leaves nothing of its target that others could see."""
        return (
            target in self.node
            and source in self.node
            and _reference(target) not in self.viewed
            and _storage(target)[0] not in self.input_storages
            and (target.dtype, target.shape, target.stride()) == (source.dtype, source.shape, source.stride())
        )

    def _stand_for(self, tensor: Tensor, same: Tensor) -> Tensor:
        """``tensor``, which from now on has the node of ``same``."""
        self.node[tensor] = self.node[same]
        self.shared |= {_reference(tensor), _reference(same)}
        return tensor

    def _as_node(self, tensor: Tensor, written: bool) -> fx.Node:
        if tensor in self.node:
            if written and _reference(tensor) in self.shared:
                self.shared.remove(_reference(tensor))
                self.node[tensor] = self.graph.call_function(torch.ops.aten.clone.default, (self.node[tensor],))
            return self.node[tensor]
        if written:  # a constant that becomes linear: every replay starts from a fresh copy of what it held
            clone = self.graph.call_function(torch.ops.aten.clone.default, (self._as_constant(tensor.clone()),))
            self.node[tensor] = clone
            return clone
        self._refuse_stale([tensor])
        return self._as_constant(tensor)

    def _as_constant(self, tensor: Tensor) -> fx.Node:
        if tensor in self.constant:
            return self.constant[tensor]
        storage = _storage(tensor)
        if storage not in self.seen:
            self.seen.add(storage)
            self.nbytes += storage[1]
            if self.nbytes > self.budget:
                raise OverBudget(f"it needs more than {self.budget / 2**20:,.1f} MiB")
        with self.graph.inserting_before(self.input_nodes[0]):
            node = self.graph.placeholder(f"constant_{len(self.constants)}")
        self.held[storage[0]].append(len(self.constants))
        self.constants.append((node, tensor, tensor._version))
        self.constant[tensor] = node
        return node

    def _keep_what_changes(self, written: list[Tensor]) -> None:
        """Constants in use that a call is about to change: the recording keeps what they held when they were used."""
        for tensor in written:
            for i in self.held.pop(_storage(tensor)[0] or None, ()):
                node, constant, _ = self.constants[i]
                del self.constant[constant]
                kept = constant.clone()
                self.nbytes += kept.numel() * kept.element_size()
                self.constants[i] = node, kept, kept._version

    def _name_results(self, node: fx.Node, out: Any, written: list[Tensor]) -> None:
        if isinstance(out, Tensor):
            self.node[out] = node
        elif isinstance(out, tuple | list):
            for i, part in enumerate(out):
                if isinstance(part, Tensor) and part not in self.node:
                    self.node[part] = self.graph.call_function(operator.getitem, (node, i))
        for tensor in written:
            if tensor not in self.node:
                raise NotLinearisable("a call wrote into a tensor that cannot be followed")

    def _written(self, func: Any, args: Any, kwargs: Any) -> list[Tensor]:
        schema = func._schema
        if not schema.is_mutable:
            return _Identities()
        named = dict(zip((a.name for a in schema.arguments), args, strict=False)) | kwargs
        return _Identities(
            named[a.name]
            for a in schema.arguments
            if a.alias_info is not None and a.alias_info.is_write and isinstance(named.get(a.name), Tensor)
        )

    def _check_writes(self, written: list[Tensor]) -> None:
        for tensor in written:
            pointer, nbytes = _storage(tensor)
            if pointer in self.input_storages:
                raise NotLinearisable("a call writes into the vector itself")
            if tensor in self.node and _reference(tensor) in self.shared & self.viewed:
                raise _Shared("a call writes into a tensor that two names share")
            if tensor not in self.node:
                if nbytes != tensor.numel() * tensor.element_size():
                    raise NotLinearisable("a call writes a derivative into a part of a constant tensor")
                self.overwritten.add(pointer)

    def _refuse_stale(self, tensors: Sequence[Tensor]) -> None:
        if self.overwritten and any(_storage(t)[0] in self.overwritten and t not in self.node for t in tensors):
            raise NotLinearisable("a view of a tensor that holds a derivative is read as a constant")

    def finish(self, outputs: Sequence[Tensor]) -> LinearMap:
        """The recording as a `LinearMap`, without calls that no output needs."""
        # An output that the inputs do not reach is a constant of a linear function: zero.
        self.graph.output(
            tuple(self.node[t] if t in self.node else self._as_constant(torch.zeros_like(t)) for t in outputs)
        )
        self.graph.eliminate_dead_code()
        kept = {}
        for node, tensor, version in self.constants:
            if not node.users:
                self.graph.erase_node(node)
                continue
            if tensor._version != version:
                raise NotLinearisable("a tensor was changed in place after a derivative had used it")
            kept[node] = tensor
        simplify(self.graph, kept)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            module = fx.GraphModule(torch.nn.Module(), self.graph)
        return LinearMap(module, list(kept.values()), self.widest)


class _Identities(list):
    """A list of tensors whose ``in`` compares identities (tensors compare element by element)."""

    def __contains__(self, tensor: object) -> bool:
        return any(tensor is t for t in self)
