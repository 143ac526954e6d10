import io
import os
from pathlib import Path

import datasets
import numpy as np
import PIL.Image
import pytest

from nonsingular.data import SOURCES, images, load
from nonsingular.errors import InputError

# name -> channels, height, width of the real images
SHAPES = {
    "mnist": (1, 28, 28),
    "cifar10": (3, 32, 32),
    "cifar100": (3, 32, 32),
    "cifar100-fine": (3, 32, 32),
    "svhn": (3, 32, 32),
    "stl10": (3, 96, 96),
}
COUNTS = {"train": 25, "test": 11}


@pytest.fixture(autouse=True)
def _own_cache_and_no_hub(tmp_path, monkeypatch):
    """Each test decodes for itself; whoever asks the hub is told that it is away."""
    monkeypatch.setenv("NONSINGULAR_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("NONSINGULAR_DATA", raising=False)
    real = datasets.load_dataset

    def local_only(path, *args, **kwargs):
        if path != "parquet":
            raise ConnectionError("the hub is away")
        return real(path, *args, **kwargs)

    monkeypatch.setattr(datasets, "load_dataset", local_only)


def pictures(name, split, seed=0):
    shape = (COUNTS[split], *SHAPES[name])
    return np.random.default_rng([seed, split == "train"]).integers(0, 256, shape, dtype=np.uint8)


def numbers(classes, split, seed=0):
    return np.random.default_rng([seed, 7, split == "train"]).integers(0, classes, COUNTS[split])


def to_pil(image):
    return PIL.Image.fromarray(image[0] if len(image) == 1 else image.transpose(1, 2, 0))


def write(folder, split, columns, part="00000-of-00001"):
    """One Parquet file with the columns and types that the hub's files have."""
    folder.mkdir(parents=True, exist_ok=True)
    features = {
        column: datasets.Image() if column in ("image", "img") else datasets.ClassLabel(num_classes=classes)
        for column, (_, classes) in columns.items()
    }
    values = {column: value for column, (value, _) in columns.items()}
    table = datasets.Dataset.from_dict(values, features=datasets.Features(features))
    path = folder / f"{split}-{part}.parquet"
    table.to_parquet(path)
    return path


def write_set(root, name, inside="", seed=0):
    """A small data set in the layout of the real one."""
    source = SOURCES[name]
    for split in COUNTS:
        columns = {source.image: ([to_pil(i) for i in pictures(name, split, seed)], None)}
        if source.folder == "cifar100":
            columns["fine_label"] = (numbers(100, split, seed), 100)
            columns["coarse_label"] = (numbers(20, split, seed), 20)
        else:
            columns[source.label] = (numbers(source.classes, split, seed), source.classes)
        write(root / source.folder / inside, split, columns)
    return root


def write_columns(root, name, train, test=None):
    """Files of a data set with other columns than it should have: {column: values} of plain types."""
    folder = root / SOURCES[name].folder
    folder.mkdir(parents=True, exist_ok=True)
    for split, columns in {"train": train, "test": test or train}.items():
        datasets.Dataset.from_dict(columns).to_parquet(folder / f"{split}-00000-of-00001.parquet")
    return root


def png(array):
    buffer = io.BytesIO()
    PIL.Image.fromarray(array).save(buffer, "png")
    return {"bytes": buffer.getvalue(), "path": None}


def grey(size=8, dtype=np.uint8):
    return png(np.full((size, size), 3, dtype))


def assert_refused(root, name, *parts):
    """One line that holds every part, and no cache left behind."""
    with pytest.raises(InputError) as caught:
        load(name, root)
    message = str(caught.value)
    assert "\n" not in message
    for part in parts:
        assert part in message
    cache = Path(os.environ["NONSINGULAR_CACHE"])
    assert not cache.exists() or not list(cache.iterdir())
    return message


def test_digits_are_scikit_learns():
    from sklearn.datasets import load_digits
    from sklearn.model_selection import train_test_split

    bundled = load_digits()
    found = load("digits")
    assert found.train.shape == (1500, 1, 8, 8)
    assert found.test.shape == (297, 1, 8, 8)
    assert found.train.dtype == np.uint8
    assert found.train.max() == 255
    assert found.classes == 10
    # Together they are all images of scikit-learn, each once, with its own label.
    ours = np.concatenate([found.train, found.test]).reshape(-1, 64) * (16 / 255)
    labels = np.concatenate([found.train_labels, found.test_labels])
    theirs = sorted((*i, t) for i, t in zip(bundled.data.astype(int).tolist(), bundled.target.tolist(), strict=True))
    assert sorted((*i, t) for i, t in zip(ours.round().astype(int).tolist(), labels.tolist(), strict=True)) == theirs
    # The division is scikit-learn's stratified one.
    split = train_test_split(bundled.data, bundled.target, test_size=297, random_state=0, stratify=bundled.target)
    ours = (found.train, found.test, found.train_labels, found.test_labels)
    theirs = (*(np.round(x * (255 / 16)).reshape(-1, 1, 8, 8) for x in split[:2]), *split[2:])
    assert all((a == b).all() for a, b in zip(ours, theirs, strict=True))


def test_digits_are_found_where_scikit_learn_moved_them(monkeypatch):
    found, read = load("digits"), np.loadtxt

    def gone(file, **options):
        if isinstance(file, Path):  # ours; scikit-learn hands an open file over
            raise FileNotFoundError(file)
        return read(file, **options)

    monkeypatch.setattr("nonsingular.data.images.np.loadtxt", gone)
    again = load("digits")
    assert (again.train == found.train).all()


@pytest.mark.parametrize("name", SHAPES)
def test_local_files_load_as_they_were_written(tmp_path, name):
    found = load(name, write_set(tmp_path, name))
    classes = {"cifar100": 20, "cifar100-fine": 100}.get(name, 10)
    assert found.classes == classes
    for split, (array, labels) in {
        "train": (found.train, found.train_labels),
        "test": (found.test, found.test_labels),
    }.items():
        assert array.dtype == np.uint8
        assert labels.dtype == np.int64
        np.testing.assert_array_equal(array, pictures(name, split))
        np.testing.assert_array_equal(labels, numbers(classes, split))


@pytest.mark.parametrize("name", SHAPES)
def test_files_where_the_named_download_puts_them_are_found(tmp_path, name):
    source = SOURCES[name]
    message = assert_refused(tmp_path, name, "train-*.parquet", str(tmp_path / source.folder), source.hub)
    command = message.split("get them with: ")[1]
    assert command.startswith(f"hf download {source.hub} --repo-type dataset --include '")
    assert command.endswith(f"--local-dir {tmp_path / source.folder}")
    pattern = command.split("'")[1]
    write_set(tmp_path, name, inside=pattern.removesuffix("/t*"))  # as the hub keeps them
    np.testing.assert_array_equal(load(name, tmp_path).train, pictures(name, "train"))


def test_a_folder_of_one_data_set_may_be_given_itself(tmp_path):
    write_set(tmp_path, "mnist")
    assert load("mnist", tmp_path / "mnist").train.shape == (25, 1, 28, 28)


def test_a_split_in_several_files_is_read_in_their_order(tmp_path):
    source = SOURCES["cifar10"]
    for split in COUNTS:
        for part, rows in enumerate([slice(0, 4), slice(4, None)]):
            columns = {
                source.image: ([to_pil(i) for i in pictures("cifar10", split)[rows]], None),
                source.label: (numbers(10, split)[rows], 10),
            }
            write(tmp_path / "cifar10", split, columns, part=f"0000{part}-of-00002")
    found = load("cifar10", tmp_path)
    np.testing.assert_array_equal(found.train, pictures("cifar10", "train"))
    np.testing.assert_array_equal(found.test_labels, numbers(10, "test"))


def test_the_environment_names_the_folder_and_an_argument_goes_before_it(tmp_path, monkeypatch):
    here, there = write_set(tmp_path / "here", "mnist"), write_set(tmp_path / "there", "mnist", seed=1)
    monkeypatch.setenv("NONSINGULAR_DATA", str(here))
    np.testing.assert_array_equal(load("mnist").train, pictures("mnist", "train"))
    np.testing.assert_array_equal(load("mnist", there).train, pictures("mnist", "train", seed=1))


def test_decoded_once_then_memory_mapped(tmp_path, monkeypatch):
    write_set(tmp_path, "mnist")
    first = load("mnist", tmp_path)
    monkeypatch.setattr(images, "_pixels", lambda *_: pytest.fail("decoded a second time"))
    second = load("mnist", tmp_path)
    assert isinstance(second.train, np.memmap)
    assert not second.train.flags.writeable
    np.testing.assert_array_equal(first.train, second.train)
    assert len(list((tmp_path / "cache").iterdir())) == 1  # nothing but the arrays is kept


def test_changed_files_are_decoded_again(tmp_path):
    write_set(tmp_path, "mnist")
    load("mnist", tmp_path)
    write_set(tmp_path, "mnist", seed=1)
    np.testing.assert_array_equal(load("mnist", tmp_path).train, pictures("mnist", "train", seed=1))


def test_files_of_equal_size_and_another_time_are_decoded_again(tmp_path):
    write_set(tmp_path, "mnist")
    load("mnist", tmp_path)
    path = tmp_path / "mnist" / "test-00000-of-00001.parquet"
    state = path.stat()
    os.utime(path, ns=(state.st_atime_ns, state.st_mtime_ns + 1_000_000_000))
    load("mnist", tmp_path)
    assert len(list((tmp_path / "cache").iterdir())) == 2


@pytest.mark.parametrize("stop", [KeyboardInterrupt, OSError(28, "No space left on device")])
@pytest.mark.parametrize("saved", [0, 1, 3])
def test_interrupted_decoding_leaves_no_half_cache(tmp_path, monkeypatch, stop, saved):
    write_set(tmp_path, "mnist")
    save, calls = np.save, []

    def interrupted(path, array):
        calls.append(path)
        save(path, array[: len(array) // 2] if len(calls) > saved else array)
        if len(calls) > saved:
            raise stop

    with monkeypatch.context() as m:
        m.setattr(np, "save", interrupted)
        with pytest.raises(type(stop) if isinstance(stop, OSError) else stop):
            load("mnist", tmp_path)
    assert not list((tmp_path / "cache").iterdir())
    np.testing.assert_array_equal(load("mnist", tmp_path).test, pictures("mnist", "test"))


def test_two_processes_may_decode_at_the_same_time(tmp_path, monkeypatch):
    write_set(tmp_path, "mnist")
    rename = Path.rename

    def slower(self, target):
        monkeypatch.setattr(Path, "rename", rename)
        load("mnist", tmp_path)  # another process finishes first
        return rename(self, target)

    monkeypatch.setattr(Path, "rename", slower)
    np.testing.assert_array_equal(load("mnist", tmp_path).train, pictures("mnist", "train"))
    assert len(list((tmp_path / "cache").iterdir())) == 1


def test_unknown_name_lists_what_there_is():
    with pytest.raises(InputError, match=r"unknown data set 'imagenet'; there are digits, mnist, .*stl10"):
        load("imagenet")


def test_nothing_given_and_no_hub_names_the_command():
    for name in SHAPES:
        hub = SOURCES[name].hub
        assert_refused(None, name, "NONSINGULAR_DATA", "the hub is away", f"hf download {hub} --repo-type dataset")


def test_missing_folder_and_missing_split_are_named(tmp_path):
    assert_refused(tmp_path / "nowhere", "cifar10", str(tmp_path / "nowhere" / "cifar10"), "hf download")
    write_set(tmp_path, "cifar10")
    (tmp_path / "cifar10" / "test-00000-of-00001.parquet").unlink()
    assert_refused(tmp_path, "cifar10", "test-*.parquet", "hf download")


def test_wrong_columns_are_named(tmp_path):
    root = write_columns(tmp_path, "cifar10", {"image": [grey()], "label": [1]})
    assert_refused(root, "cifar10", "no column 'img'", "image, label", "uoft-cs/cifar10")
    root = write_columns(tmp_path, "cifar100", {"img": [grey()], "label": [1]})
    assert_refused(root, "cifar100", "no column 'coarse_label'", "img, label", "uoft-cs/cifar100")


@pytest.mark.parametrize("label", [10, -1, 0.5, "cat", None])
def test_labels_out_of_range_are_refused(tmp_path, label):
    root = write_columns(tmp_path, "mnist", {"image": [grey(), grey()], "label": [label, label]})
    assert_refused(root, "mnist", "'label'", "whole numbers 0 to 9")


@pytest.mark.parametrize("split", ["train", "test"])
def test_a_truncated_file_is_named(tmp_path, split):
    write_set(tmp_path, "mnist")
    path = tmp_path / "mnist" / f"{split}-00000-of-00001.parquet"
    path.write_bytes(path.read_bytes()[:-200])
    assert_refused(tmp_path, "mnist", f"cannot read {path} as Parquet")


def test_damaged_images_are_refused(tmp_path):
    broken = {"bytes": grey()["bytes"][:30], "path": None}
    assert_refused(write_columns(tmp_path, "mnist", {"image": [grey(), broken], "label": [1, 2]}), "mnist", "'image'")


def test_a_column_that_holds_no_images_is_refused(tmp_path):
    root = write_columns(tmp_path, "mnist", {"image": [1.5, 2.5], "label": [1, 2]})
    assert_refused(root, "mnist", "'image'", "does not hold images")


def test_images_of_different_sizes_are_refused(tmp_path):
    root = write_columns(tmp_path, "mnist", {"image": [grey(8), grey(9)], "label": [1, 2]})
    assert_refused(root, "mnist", "images of one size")
    small, large = ({"image": [grey(size)], "label": [1]} for size in (8, 9))
    root = write_columns(tmp_path, "mnist", small, large)
    assert_refused(root, "mnist", "(1, 8, 8)", "(1, 9, 9)", "one size")


def test_images_of_16_bits_are_refused_rather_than_wrapped(tmp_path):
    root = write_columns(tmp_path, "mnist", {"image": [grey(8, np.uint16)], "label": [1]})
    assert_refused(root, "mnist", "8-bit", "uint16")


def test_empty_files_are_refused(tmp_path):
    folder = tmp_path / "mnist"
    for split in COUNTS:
        write(folder, split, {"image": ([], None), "label": ([], 10)})
    assert_refused(tmp_path, "mnist", "cannot read", "no data")
