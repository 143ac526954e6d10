"""What a user brings on the command line: a model from their own code, its weights, its data."""

from __future__ import annotations

import importlib
import importlib.util
import inspect
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from nonsingular.data import DataSpec, load, prepare
from nonsingular.errors import InputError
from nonsingular.weights import read_weights

FORM = "package.module:factory or file.py:factory"
Batches = list[tuple[Any, Any]]


def load_target(target: str, checkpoint: Path | None = None) -> tuple[nn.Module, Callable[..., Tensor]]:
    """The model and loss of a TARGET, in evaluation mode.

    Args:
        target: ``package.module:factory`` or ``file.py:factory``; the factory takes no arguments and returns a module,
            or a pair (module, loss_fn). Without a loss it is cross-entropy. The code is run: name only code you trust.
        checkpoint: weights for it, safetensors or a file of ``torch.load(weights_only=True)``.

    Raises:
        InputError: no such file, module or factory; the factory fails or returns something else; wrong weights.
    """
    place, separator, name = target.rpartition(":")
    if not (separator and place and name):
        raise InputError(f"TARGET must be {FORM}, got {target!r}")
    module = _file(Path(place)) if place.endswith(".py") else _module(place)
    factory = getattr(module, name, None)
    if factory is None:
        names = ", ".join(n for n in vars(module) if not n.startswith("_") and callable(getattr(module, n)))
        raise InputError(f"{place} has no {name!r}; it has {names or 'nothing callable'}")
    if isinstance(factory, nn.Module):
        made: object = factory
    elif callable(factory):
        made = _call(factory, target)
    else:
        raise InputError(f"{target} is a {type(factory).__name__}; it must be a function that returns a model")
    model, loss_fn = made if isinstance(made, tuple) and len(made) == 2 else (made, F.cross_entropy)
    if not isinstance(model, nn.Module) or not callable(loss_fn):
        what = type(made).__name__
        raise InputError(f"{target} must return a torch.nn.Module, or (module, loss_fn); it returned a {what}")
    if checkpoint is not None:
        _load_weights(model, checkpoint)
    return model.eval(), loss_fn


def _file(path: Path) -> ModuleType:
    if not path.is_file():
        raise InputError(f"no file {path}; TARGET must be {FORM}")
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules.setdefault(path.stem, module)
    sys.path.insert(0, str(path.parent.resolve()))  # its own imports, as if it were run as a script
    try:
        spec.loader.exec_module(module)
    except Exception as error:
        raise InputError(f"{path} cannot be imported: {type(error).__name__}: {error}") from error
    finally:
        sys.path.pop(0)
    return module


def _module(name: str) -> ModuleType:
    sys.path.insert(0, "")  # packages in the working folder, as python -m finds them
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        raise InputError(f"no module {error.name!r}; TARGET must be {FORM}") from error
    except Exception as error:
        raise InputError(f"{name} cannot be imported: {type(error).__name__}: {error}") from error
    finally:
        sys.path.pop(0)


def _call(factory: Callable[[], object], target: str) -> object:
    try:
        inspect.signature(factory).bind()
    except TypeError as error:
        raise InputError(f"{target} must work without arguments: {error}") from error
    except ValueError:  # built-in, without a signature
        pass
    try:
        return factory()
    except Exception as error:
        raise InputError(f"{target} failed: {type(error).__name__}: {error}") from error


def _load_weights(model: nn.Module, path: Path) -> None:
    try:
        model.load_state_dict(read_weights(path))
    except (RuntimeError, IndexError) as error:
        raise InputError(f"{path} does not fit the model: {' '.join(str(error).split())[:300]}") from error


def load_batches(
    model: nn.Module, data: str | None, batches: Path | None, data_dir: Path | None, scaling: str, samples: int
) -> Batches:
    """Batches for a user's model: from a named data set, or from a file.

    Args:
        model: decides whether images are flattened: only where it does not take them as [sample, channel, row, column].
        data: name of a data set; the bundled digits by default.
        batches: a file of ``torch.load(weights_only=True)``: a list of pairs (inputs, targets), or one pair.
        data_dir: as in ``data.load``.
        scaling: as in ``data.DataSpec``.
        samples: training images taken from the data set.

    Raises:
        InputError: both given, an unreadable file, an unknown data set, or images that the model does not take.
    """
    if data is not None and batches is not None:
        raise InputError("give --data or --batches, not both")
    if batches is not None:
        return _read_batches(batches)
    spec = DataSpec(data or "digits", train=samples, scaling=scaling)
    task = prepare(spec, data_dir)
    shape = load(spec.name, data_dir).train.shape[1:]
    images = task.train_inputs.view(-1, *shape)
    for inputs in (images, task.train_inputs):
        try:
            with torch.no_grad():
                model(inputs[:2])
        except Exception as error:
            reason = _first_line(error)
        else:
            return [(inputs, task.train_labels)]
    size = " x ".join(map(str, images.shape[1:]))
    raise InputError(f"the model takes {spec.name} neither as {size} images nor flattened: {reason}")


def _read_batches(path: Path) -> Batches:
    if not path.is_file():
        raise InputError(f"no batches at {path}")
    try:
        found = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:
        raise InputError(f"{path} is not a file of tensors (torch.save of pairs): {_first_line(error)}") from error
    if isinstance(found, tuple | list) and len(found) == 2 and isinstance(found[0], Tensor):
        found = [found]
    if not isinstance(found, list) or not all(isinstance(b, tuple | list) and len(b) == 2 for b in found):
        raise InputError(f"{path} must hold a list of pairs (inputs, targets), or one pair")
    return [(b[0], b[1]) for b in found]


def _first_line(error: Exception) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0]
