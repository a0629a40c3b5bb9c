from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch
from small_unet import small_unet

from supernet.supernet import Supernet


@pytest.fixture(scope="module")
def supernet() -> Supernet:
    """A small supernet that a module's tests share; none of them changes its weights."""
    return Supernet(small_unet())


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    """Tiny tensors are slower on more threads."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)
