"""Images as they are: decoded once to uint8, cached as memory-mapped arrays."""

from __future__ import annotations

import hashlib
import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import Int64, UInt8

from nonsingular.data.sources import SOURCES, Source, known
from nonsingular.errors import InputError, MissingExtra

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
    """

    train: UInt8[np.ndarray, "image channel height width"]
    train_labels: Int64[np.ndarray, " image"]
    test: UInt8[np.ndarray, "image channel height width"]
    test_labels: Int64[np.ndarray, " image"]
    classes: int


def load(name: str, data_dir: str | Path | None = None) -> Images:
    """The named data set, from the cache, from local Parquet files, or from the hub, in that order.

    Args:
        name: ``digits``, ``mnist``, ``cifar10``, ``cifar100`` (its 20 coarse labels), ``cifar100-fine``,
            ``svhn``, ``stl10``.
        data_dir: folder with one folder of Parquet files a data set (``train-*.parquet``, ``test-*.parquet``);
            by default the environment variable ``NONSINGULAR_DATA``.

    Raises:
        InputError: unknown name; files missing, unreadable or with other columns.
        MissingExtra: the extra ``data`` is not installed.
    """
    source = SOURCES[known(name)]
    if source is None:
        return _digits()
    directory = data_dir or os.environ.get("NONSINGULAR_DATA")
    files = _local_files(source, Path(directory)) if directory else None
    folder = _cache_folder(name, files)
    if not (folder / "complete").exists():
        _fill_cache(folder, name, source, files)
    arrays = {part: np.load(folder / f"{part}.npy", mmap_mode="r") for part in _PARTS}
    return Images(**arrays, classes=source.classes)


_PARTS = ("train", "train_labels", "test", "test_labels")


def _digits() -> Images:
    from sklearn.datasets import load_digits
    from sklearn.model_selection import train_test_split

    digits = load_digits()
    images = np.round(digits.images * (255 / 16)).astype(np.uint8)[:, None]
    labels = digits.target.astype(np.int64)
    train, test, train_labels, test_labels = train_test_split(
        images, labels, test_size=297, random_state=0, stratify=labels
    )
    return Images(train, train_labels, test, test_labels, classes=10)


def _local_files(source: Source, directory: Path) -> dict[str, list[str]]:
    """The Parquet files of each split, or an error that says what was looked for."""
    for folder in (directory / source.folder, directory):
        files = {split: sorted(str(f) for f in folder.glob(f"{split}-*.parquet")) for split in SPLITS}
        if all(files.values()):
            return files
    raise InputError(
        f"no {source.folder} data: looked for train-*.parquet and test-*.parquet in {directory / source.folder}; "
        f"get them with: hf download {source.hub} --repo-type dataset --local-dir {directory / source.folder}"
    )


def _cache_folder(name: str, files: dict[str, list[str]] | None) -> Path:
    """A folder of its own for every state of the source files."""
    root = os.environ.get("NONSINGULAR_CACHE") or Path.home() / ".cache" / "nonsingular"
    state = [(f, s.st_size, s.st_mtime_ns) for fs in (files or {}).values() for f in fs for s in [os.stat(f)]]
    return Path(root) / f"{name}-{hashlib.sha256(repr(state).encode()).hexdigest()[:12]}"


def _fill_cache(folder: Path, name: str, source: Source, files: dict[str, list[str]] | None) -> None:
    tables = _tables(name, source, files)
    folder.mkdir(parents=True, exist_ok=True)
    for split in SPLITS:
        images, labels = _decode(tables[split], source, name)
        _save(folder / f"{split}.npy", images)
        _save(folder / f"{split}_labels.npy", labels)
    (folder / "complete").touch()


def _save(path: Path, array: np.ndarray) -> None:
    """Write under another name first: a reader never sees half a file."""
    partial = path.with_suffix(f".{os.getpid()}.partial")
    with partial.open("wb") as f:
        np.save(f, array)
    partial.replace(path)


def _tables(name: str, source: Source, files: dict[str, list[str]] | None) -> dict[str, Dataset]:
    try:
        import datasets
        import PIL  # noqa: F401
    except ImportError:
        raise MissingExtra(f"data set {name}", "data") from None
    datasets.disable_progress_bars()
    try:
        if files:
            return dict(datasets.load_dataset("parquet", data_files=files))
        return {s: datasets.load_dataset(source.hub, source.config, split=s) for s in SPLITS}
    except Exception as error:
        reason = str(error).strip().splitlines()[-1] if str(error).strip() else type(error).__name__
        if files:
            raise InputError(f"cannot read {files['train'][0]} as Parquet: {reason}") from error
        raise InputError(
            f"no {source.folder} data: no --data-dir (or NONSINGULAR_DATA) was given and the hub did not answer "
            f"({reason}); get it with: hf download {source.hub} --repo-type dataset --local-dir DIR/{source.folder}"
        ) from error


def _decode(table: Any, source: Source, name: str) -> tuple[np.ndarray, np.ndarray]:
    import datasets

    for column in (source.image, source.label):
        if column not in table.column_names:
            raise InputError(
                f"the {name} files have no column {column!r} (they have {', '.join(table.column_names)}); "
                f"expected the columns of {source.hub}"
            )
    labels = np.asarray(table[source.label])
    if labels.dtype.kind not in "iu" or labels.min() < 0 or labels.max() >= source.classes:
        raise InputError(f"column {source.label!r} of {name} must hold whole numbers 0 to {source.classes - 1}")
    images = table.select_columns([source.image]).cast_column(source.image, datasets.Image())
    try:
        decoded = [np.asarray(row[source.image]) for row in images]
        stacked = np.stack(decoded)
    except Exception as error:
        raise InputError(f"column {source.image!r} of {name} does not hold images of one size: {error}") from error
    if stacked.ndim == 3:
        stacked = stacked[..., None]
    return np.ascontiguousarray(stacked.transpose(0, 3, 1, 2), np.uint8), labels.astype(np.int64)
