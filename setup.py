"""Builds the package `aneurysm_detection` from src/; everything else is in pyproject.toml.

In the repository the code is imported as `src`, which every second project has. A wheel must not
install that name, so its modules are copied with `src.` replaced by the package's name.
"""

import re
from pathlib import Path
from typing import Any

from setuptools import find_packages, setup
from setuptools.command.build_py import build_py

SOURCE = "src"
PACKAGE = "aneurysm_detection"


class BuildPackage(build_py):
    """Copies modules under the package's name."""

    def run(self) -> None:
        """Refuse what cannot work: an editable install would import the files as they are."""
        if self.editable_mode:
            raise SystemExit(
                f"{PACKAGE} cannot be installed editable, since its modules are renamed on the "
                f"way: in a checkout import `{SOURCE}` from its root, elsewhere pip install it"
            )
        super().run()

    def build_module(self, module: Any, module_file: Any, package: Any) -> Any:  # noqa: ANN401
        """Copy one module, then rename the package in what was copied."""
        built = super().build_module(module, module_file, package)
        copy = Path(built[0])
        copy.write_text(renamed(copy.read_text(encoding="utf-8")), encoding="utf-8")
        return built


def renamed(code: str) -> str:
    """Python source with `src.module` as `aneurysm_detection.module`, in imports and in words."""
    return re.sub(rf"\b{SOURCE}\.(?=[a-z_])", f"{PACKAGE}.", code)


if __name__ == "__main__":
    setup(
        package_dir={PACKAGE: SOURCE},
        packages=[PACKAGE, *(f"{PACKAGE}.{name}" for name in find_packages(SOURCE))],
        package_data={f"{PACKAGE}.evaluation": ["*.jinja", "*.schema.json"]},
        cmdclass={"build_py": BuildPackage},
    )
