"""What an OpenMP library that is loaded in a process takes from the environment."""

import ctypes
import os
import re
import shutil
import tempfile
from importlib.util import find_spec
from pathlib import Path


def library() -> Path | None:
    """The GNU OpenMP that torch brings along; found without importing torch."""
    spec = find_spec("torch")
    assert spec is not None and spec.origin is not None
    found = Path(spec.origin).parent / "lib" / "libgomp.so.1"
    return found if found.exists() else None


def spin_count() -> int:
    """Rounds for which threads of a copy of that library, loaded now, spin before they sleep."""
    source = library()
    assert source is not None
    with tempfile.TemporaryDirectory() as folder, tempfile.TemporaryFile() as said:
        copy = shutil.copy(source, folder)  # the file itself may be loaded already
        os.environ["OMP_DISPLAY_ENV"] = "verbose"
        kept = os.dup(2)
        os.dup2(said.fileno(), 2)
        try:
            ctypes.CDLL(copy)
        finally:
            os.dup2(kept, 2)
            os.close(kept)
            del os.environ["OMP_DISPLAY_ENV"]
        said.seek(0)
        (found,) = re.findall(rb"GOMP_SPINCOUNT = '(\d+)'", said.read())
    return int(found)
