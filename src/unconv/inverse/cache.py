"""Factors that are kept as long as what they were made from has not changed."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Hashable, Sequence
from typing import Any

import torch
from torch import Tensor

from .operator import InverseOperator

_MOST_FACTORS = 4  # sizes of pictures whose factors are kept, the latest


class FactorCache:
    """The latest factors of a layer, by the size of the picture.

    It is no part of the layer's state: copies and pickles of it are empty.
    """

    def __init__(self) -> None:
        self._kept: OrderedDict[Hashable, tuple[list[Tensor], InverseOperator]] = OrderedDict()

    def get(
        self, key: Hashable, tensors: Sequence[Tensor], factor: Callable[[], InverseOperator]
    ) -> InverseOperator:
        """The factor under `key`, made anew if any of the tensors has changed since.

        Values are compared: torch's count of changes in place is blind to fused optimisers and to
        `.data`, and weights are small beside any solve.
        """
        found = self._kept.get(key)
        if found is None or not _same(found[0], tensors):
            values = [t.detach().clone() for t in tensors]
            with torch.no_grad():  # the caller binds it to the tensors of its own graph
                found = self._kept[key] = values, factor()
        self._kept.move_to_end(key)
        while len(self._kept) > _MOST_FACTORS:
            self._kept.popitem(last=False)
        return found[1]

    def clear(self) -> None:
        """Forget all factors."""
        self._kept.clear()

    def __deepcopy__(self, memo: dict[int, Any]) -> FactorCache:
        return FactorCache()

    def __reduce__(self) -> tuple[type[FactorCache], tuple[()]]:
        return FactorCache, ()


def _same(values: Sequence[Tensor], tensors: Sequence[Tensor]) -> bool:
    return all(
        v.dtype == t.dtype and v.device == t.device and torch.equal(v, t.detach())
        for v, t in zip(values, tensors, strict=True)
    )
