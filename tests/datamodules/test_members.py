import io
import zipfile

import numpy as np
import pytest

from datamodules.clip import encode
from datamodules.keys import KEYS
from datamodules.shards.members import read_npz


def packed(save=np.savez_compressed, **arrays):
    buffer = io.BytesIO()
    save(buffer, **arrays)
    return buffer.getvalue()


@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
@pytest.mark.parametrize(
    "array",
    [
        np.arange(24, dtype=np.float32).reshape(2, 3, 4),
        np.asfortranarray(np.arange(12, dtype=np.int16).reshape(3, 4)),
        np.zeros((0, 134, 2), np.float16),
        np.array(3.5),
        np.array([True, False]),
    ],
)
def test_arrays_are_those_that_numpy_reads(save, array):
    read = read_npz(packed(save, first=array, second=array[..., None]))
    assert list(read) == ["first", "second"]
    np.testing.assert_array_equal(read["first"], array, strict=True)
    np.testing.assert_array_equal(read["second"], array[..., None], strict=True)


def test_no_damage_passes_unseen():
    array = np.random.default_rng(0).standard_normal(2000).astype(np.float32)
    data = packed(array=array)
    rng, caught = np.random.default_rng(1), 0
    for place in rng.integers(0, len(data), 300).tolist():
        damaged = bytearray(data)
        damaged[place] ^= 1 << int(rng.integers(8))
        try:
            read = read_npz(bytes(damaged))
        except Exception:  # which error it is depends on the place
            caught += 1
            continue
        # A change of a date or of a name's copy in the archive does no harm.
        assert len(read) == 1
        np.testing.assert_array_equal(next(iter(read.values())), array)
    assert caught > 250


def test_python_objects_are_refused():
    with pytest.raises(ValueError, match="objects"):
        read_npz(packed(array=np.array([{}], object)))


@pytest.mark.parametrize(("key", "how"), [("latents.npz", zipfile.ZIP_STORED), ("implicit.npz", zipfile.ZIP_DEFLATED)])
def test_noise_is_stored_as_it_is(key, how):
    arrays = {
        name: np.zeros([size if isinstance(size, int) else 3 for size in array.shape], array.dtype)
        for name, array in KEYS[key].arrays.items()
    }
    data = encode(key, arrays)
    assert {member.compress_type for member in zipfile.ZipFile(io.BytesIO(data)).infolist()} == {how}
    found = read_npz(data)
    assert found.keys() == arrays.keys()
    assert all(np.array_equal(found[name], arrays[name]) for name in arrays)
