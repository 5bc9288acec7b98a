"""Factors that are kept as long as what they were made from has not changed."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Hashable, Sequence
from typing import Any

from torch import Tensor

from ..inverse import InverseOperator

_MOST = 4  # sizes of pictures whose factors are kept, the latest


class FactorCache:
    """The latest factors of a layer, by the size of the picture.

    It is no part of the layer's state: copies and pickles of it are empty.
    """

    def __init__(self) -> None:
        self._kept: OrderedDict[Hashable, tuple[list[Any], InverseOperator]] = OrderedDict()

    def get(
        self, key: Hashable, tensors: Sequence[Tensor], factor: Callable[[], InverseOperator]
    ) -> InverseOperator:
        """The factor under `key`, made anew if any of the tensors has changed since.

        torch counts changes in place; tensors that were replaced, moved or cast are others.
        Changes through `.data` leave no trace, here as in autograd: call `clear` after them.
        """
        state = [(t, t._version, t.data_ptr(), t.device, t.dtype) for t in tensors]
        found = self._kept.get(key)
        if found is None or not _same(found[0], state):
            found = self._kept[key] = state, factor()
        self._kept.move_to_end(key)
        while len(self._kept) > _MOST:
            self._kept.popitem(last=False)
        return found[1]

    def clear(self) -> None:
        """Forget all factors."""
        self._kept.clear()

    def __deepcopy__(self, memo: dict[int, Any]) -> FactorCache:
        return FactorCache()

    def __reduce__(self) -> tuple[type[FactorCache], tuple[()]]:
        return FactorCache, ()


def _same(one: list[Any], other: list[Any]) -> bool:
    return len(one) == len(other) and all(
        a[0] is b[0] and a[1:] == b[1:] for a, b in zip(one, other, strict=True)
    )
