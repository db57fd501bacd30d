"""What keeps the benchmarks' tests short."""

import pytest

from benchmarks import device_figures


@pytest.fixture(autouse=True)
def _small_product(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(device_figures.PRODUCT_EDGE, "cpu", 64)
