"""Images as they are: decoded once to uint8, cached as memory-mapped arrays."""

from __future__ import annotations

import hashlib
import os
import tempfile
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import Int64, UInt8

from nonsingular.checks import checked
from nonsingular.data.sources import SOURCES, Source, known
from nonsingular.errors import InputError, MissingExtra
from nonsingular.files import cache

if TYPE_CHECKING:
    from datasets import Dataset

SPLITS = ("train", "test")


@dataclass(frozen=True)
class Images:
    """Training and test images with their labels.

    Attributes:
        train: grey levels 0 to 255.
        train_labels: 0 to ``classes - 1``.
        test: like ``train``.
        test_labels: like ``train_labels``.
        classes: number of labels.

    >>> import nonsingular as ns
    >>> images = ns.data.load("digits")
    >>> images.train.dtype, images.train.shape[1:], images.classes
    (dtype('uint8'), (1, 8, 8), 10)
    """

    train: UInt8[np.ndarray, "image channel height width"]
    train_labels: Int64[np.ndarray, " image"]
    test: UInt8[np.ndarray, "image channel height width"]
    test_labels: Int64[np.ndarray, " image"]
    classes: int


@checked
def load(name: str, data_dir: str | Path | None = None) -> Images:
    """The named data set, from the cache, from local Parquet files, or from the hub, in that order.

    Args:
        name: ``digits``, ``mnist``, ``cifar10``, ``cifar100`` (its 20 coarse labels), ``cifar100-fine``,
            ``svhn``, ``stl10``.
        data_dir: folder with one folder of Parquet files a data set (``train-*.parquet``, ``test-*.parquet``, there or
            in the folder that the hub keeps them in); by default the environment variable ``NONSINGULAR_DATA``.

    Raises:
        InputError: unknown name; files missing, unreadable or with other columns.
        MissingExtra: the extra ``data`` is not installed.

    >>> import nonsingular as ns
    >>> ns.data.load("digits").test.shape
    (297, 1, 8, 8)
    """
    source = SOURCES[known(name)]
    if source is None:
        return _digits()
    directory = data_dir or os.environ.get("NONSINGULAR_DATA")
    files = _local_files(source, Path(directory)) if directory else None
    folder = _cache_folder(name, files)
    if not folder.exists():
        _fill_cache(folder, name, source, files)
    arrays = {part: np.load(folder / f"{part}.npy", mmap_mode="r") for part in _PARTS}
    return Images(**arrays, classes=source.classes)


_PARTS = ("train", "train_labels", "test", "test_labels")


def _digits() -> Images:
    table = _digits_table()
    images = np.round(table[:, :-1] * (255 / 16)).astype(np.uint8).reshape(-1, 1, 8, 8)
    labels = table[:, -1].astype(np.int64)
    order = np.load(Path(__file__).with_name("digits_order.npy"))
    test, train = np.split(order, [297])
    return Images(images[train], labels[train], images[test], labels[test], classes=10)


def _digits_table() -> np.ndarray:
    """Grey levels 0 to 16 and label of every digit: scikit-learn's file, which is read in a tenth of its import."""
    package = find_spec("sklearn")
    assert package is not None
    assert package.submodule_search_locations is not None
    try:
        return np.loadtxt(Path(package.submodule_search_locations[0]) / "datasets/data/digits.csv.gz", delimiter=",")
    except OSError:  # it lies elsewhere in that version
        from sklearn.datasets import load_digits

        digits = load_digits()
        return np.column_stack([digits.data, digits.target])


def _local_files(source: Source, directory: Path) -> dict[str, list[str]]:
    """The Parquet files of each split, or an error that says what was looked for."""
    home = directory / source.folder
    for folder in (home, home / source.inside, directory):
        files = {split: sorted(str(f) for f in folder.glob(f"{split}-*.parquet")) for split in SPLITS}
        if all(files.values()):
            return files
    raise InputError(
        f"no {source.folder} data: looked for train-*.parquet and test-*.parquet in {home}; "
        f"get them with: {source.download(home)}"
    )


CACHE_LAYOUT = 2
"""Counts the ways in which images were decoded and laid out: a cache of another layout is not read."""


def _cache_folder(name: str, files: dict[str, list[str]] | None) -> Path:
    """A folder of its own for every state of the source files."""
    state = [(f, s.st_size, s.st_mtime_ns) for fs in (files or {}).values() for f in fs for s in [os.stat(f)]]
    return cache() / f"{name}-{hashlib.sha256(repr((CACHE_LAYOUT, state)).encode()).hexdigest()[:12]}"


def _fill_cache(folder: Path, name: str, source: Source, files: dict[str, list[str]] | None) -> None:
    """Decode into a scratch folder, then rename: the cache is whole or not there."""
    _check_installed(name)
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder.parent, prefix="decoding-", ignore_cleanup_errors=True) as scratch:
        arrays = Path(scratch) / "arrays"
        arrays.mkdir()
        shapes = {}
        for split in SPLITS:
            table = _read(files[split], scratch) if files else _download(source, split)
            images, labels = _decode(table, source, name)
            shapes[split] = images.shape[1:]
            np.save(arrays / f"{split}.npy", images)
            np.save(arrays / f"{split}_labels.npy", labels)
        if shapes["train"] != shapes["test"]:
            raise InputError(
                f"the training images of {name} are {shapes['train']} (channel, height, width) and its test images "
                f"{shapes['test']}; expected one size"
            )
        try:
            arrays.rename(folder)
        except OSError:
            if not folder.exists():  # else another process was faster
                raise


def _check_installed(name: str) -> None:
    try:
        import datasets
        import PIL  # noqa: F401
    except ImportError:
        raise MissingExtra(f"data set {name}", "data") from None
    datasets.disable_progress_bars()
    datasets.logging.set_verbosity(datasets.logging.CRITICAL)  # what goes wrong is said once, by us


def _read(files: list[str], scratch: str) -> Dataset:
    """The rows of Parquet files; what is unpacked on the way to memory goes to ``scratch``."""
    import datasets

    try:
        return datasets.load_dataset("parquet", data_files=files, split="train", cache_dir=scratch)
    except Exception as error:
        raise InputError(f"cannot read {', '.join(files)} as Parquet: {_reason(error)}; get it again") from error


def _download(source: Source, split: str) -> Dataset:
    import datasets

    try:
        return datasets.load_dataset(source.hub, source.config, split=split)
    except Exception as error:
        raise InputError(
            f"no {source.folder} data: no --data-dir (or NONSINGULAR_DATA) was given and the hub did not answer "
            f"({_reason(error)}); get it with: {source.download(f'DIR/{source.folder}')} and give --data-dir DIR"
        ) from error


def _reason(error: Exception) -> str:
    """The last line of an error, where libraries put the cause."""
    return (str(error).strip() or type(error).__name__).splitlines()[-1]


def _decode(
    table: Dataset, source: Source, name: str
) -> tuple[UInt8[np.ndarray, "image channel height width"], Int64[np.ndarray, " image"]]:
    for column in (source.image, source.label):
        if column not in table.column_names:
            raise InputError(
                f"the {name} files have no column {column!r} (they have {', '.join(table.column_names)}); "
                f"expected the columns of {source.hub}"
            )
    labels = np.asarray(table[source.label])
    if labels.dtype.kind not in "iu" or labels.min() < 0 or labels.max() >= source.classes:
        raise InputError(f"column {source.label!r} of {name} must hold whole numbers 0 to {source.classes - 1}")
    return _pixels(table, source, name), labels.astype(np.int64)


def _pixels(table: Dataset, source: Source, name: str) -> UInt8[np.ndarray, "image channel height width"]:
    import datasets

    try:
        files = table.select_columns([source.image]).cast_column(source.image, datasets.Image(decode=False))
        decode = datasets.Image().decode_example  # row by row through the table takes longer than decoding
        images = np.stack([np.asarray(decode(file)) for rows in files.iter(1000) for file in rows[source.image]])
    except Exception as error:
        raise InputError(
            f"column {source.image!r} of {name} does not hold images of one size: {_reason(error)}"
        ) from error
    if images.dtype != np.uint8:  # a cast would wrap round
        raise InputError(f"column {source.image!r} of {name} must hold 8-bit images, got {images.dtype}")
    if images.ndim == 3:
        images = images[..., None]
    return np.ascontiguousarray(images.transpose(0, 3, 1, 2))
