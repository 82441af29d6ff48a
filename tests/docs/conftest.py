"""The extensions of the documentation are scripts beside it, not a package."""

import importlib.util
from pathlib import Path
from types import ModuleType

import pytest

DOCS = Path(__file__).parents[2] / "docs"


@pytest.fixture(scope="session")
def extension():
    """Imports one of `docs/_ext`, or skips where the extra `docs` is not installed."""

    def load(name: str) -> ModuleType:
        pytest.importorskip("sphinx", reason="needs the extra 'docs'")
        spec = importlib.util.spec_from_file_location(f"docs_{name}", DOCS / "_ext" / f"{name}.py")
        assert spec is not None and spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        return module

    return load
