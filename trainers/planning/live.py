"""Bytes of tensors that are alive while something runs, on any device, the meta device among them."""

import weakref
from functools import partial
from typing import Any

from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves


class LiveBytes(TorchDispatchMode):
    """Counts what is made while it is on: each storage from the operation that makes it until nothing holds it.

    What is there before does not count. On the meta device storages have sizes and no memory, so a step of any size can
    be counted.

    Attributes:
        now: bytes alive.
        peak: most bytes that were alive at once.
    """

    def __init__(self) -> None:
        super().__init__()
        self.now = self.peak = 0
        self._known: dict[int, tuple[weakref.ref[Any], int]] = {}
        self._before: dict[int, weakref.ref[Any]] = {}

    def leave_out(self, *tensors: Tensor) -> None:
        """Count the storages of these tensors no more, now or later."""
        for storage in filter(None, map(_storage, tensors)):
            key = storage._cdata
            if key in self._known:
                self._forget(key)
            self._before[key] = weakref.ref(storage, partial(self._drop, key))

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        for leaf in tree_leaves(result):
            if isinstance(leaf, Tensor) and (storage := _storage(leaf)) is not None:
                self._take(storage)
        return result

    def _take(self, storage: Any) -> None:
        key, size = storage._cdata, storage.nbytes()
        if key in self._known or key in self._before:
            return
        self._known[key] = (weakref.ref(storage, partial(self._forget, key)), size)
        self.now += size
        self.peak = max(self.peak, self.now)

    def _drop(self, key: int, reference: Any = None) -> None:
        self._before.pop(key, None)

    def _forget(self, key: int, reference: Any = None) -> None:
        _, size = self._known.pop(key, (None, 0))
        self.now -= size


def _storage(tensor: Tensor) -> Any:
    """The storage of a tensor, None where it has none (sparse and wrapped ones)."""
    try:
        return tensor.untyped_storage()
    except (NotImplementedError, RuntimeError):
        return None
