"""The walls of the house, kept by a machine: import layers, doors for outside libraries, and rules of writing."""

from __future__ import annotations

import ast
import inspect
import re
import subprocess
import sys
from pathlib import Path

import pytest

import eqnets

ROOT = Path(__file__).resolve().parents[2]
SOURCES = sorted((ROOT / "src" / "eqnets").rglob("*.py"))
MAX_LINES = 350

# scipy enters by more than one door: which of its subpackages each room may import.
SCIPY_DOORS = {
    "scipy.linalg": ("system/lti.py", "system/discretise.py", "certification/", "identification/start.py"),
    "scipy.io": ("identification/readers", "interop/mat.py"),
    "scipy.integrate": ("system/plants",),
    "scipy.signal": ("identification/",),
    "scipy.stats": ("identification/residuals.py",),
    "scipy.optimize": ("equilibrium/scipy.py",),
}

# A function-level import hides a dependency. Each exception has its reason here.
LOCAL_IMPORTS: dict[str, str] = {
    "cli/__init__.py": "the command says in one sentence which extra is missing, before typer is imported",
    "cli/sweep.py": "Ray takes seconds to import and is needed by one verb; its absence is a worded error",
    "equilibrium/scipy.py": "scipy.optimize takes a quarter of the time of `import eqnets`, and one solver needs it",
    "system/kernels/fused.py": "numba takes a sixth of that time, and is needed only where no C compiler is found",
    "identification/fit.py": "Fit.save writes what files reads back as a Fit; arrays need no reader, files do",
    "models/neural_ode.py": "torchdiffeq is needed by methods other than rk4 only, and its absence is a worded error",
    "identification/readers/stores.py": "h5py is needed by HDF5 files only, and its absence is a worded error",
}


def _id(path: Path) -> str:
    return path.relative_to(ROOT / "src" / "eqnets").as_posix()


def _tree(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"), filename=str(path))


def _imported(tree: ast.AST) -> list[str]:
    names: list[str] = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            names += [f"{node.module}.{alias.name}" for alias in node.names]
    return names


def test_import_linter_contracts_hold() -> None:
    result = subprocess.run(
        [sys.executable, "-c", "from importlinter.cli import lint_imports_command as c; c(['--no-cache'])"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert result.returncode == 0, result.stdout + result.stderr
    assert "0 broken" in result.stdout


@pytest.mark.parametrize("path", SOURCES, ids=_id)
def test_scipy_enters_by_its_doors(path: Path) -> None:
    for name in _imported(_tree(path)):
        if name.split(".")[0] != "scipy":
            continue
        subpackage = ".".join(name.split(".")[:2])
        doors = SCIPY_DOORS.get(subpackage)
        assert doors is not None, f"{_id(path)} imports {name}: name its door in SCIPY_DOORS."
        assert _id(path).startswith(doors), f"{_id(path)} imports {name}, whose doors are {', '.join(doors)}."


@pytest.mark.parametrize("path", SOURCES, ids=_id)
def test_nothing_prints_below_the_command_line(path: Path) -> None:
    calls = [n.lineno for n in ast.walk(_tree(path)) if isinstance(n, ast.Call) and _name(n.func) == "print"]
    assert not calls, f"{_id(path)} prints in line {calls}: use logging, a callback, or (in cli/) typer.echo."


@pytest.mark.parametrize("path", SOURCES, ids=_id)
def test_nothing_is_unpickled(path: Path) -> None:
    tree = _tree(path)
    unpicklers = {"pickle", "cloudpickle", "dill", "joblib", "marshal", "shelve"}
    imported = unpicklers & {name.split(".")[0] for name in _imported(tree)}
    assert not imported, f"{_id(path)} imports {imported}: a file must not be able to run code."
    for node in ast.walk(tree):
        if not isinstance(node, ast.Call):
            continue
        assert _name(node.func) != "torch.load", f"{_id(path)}:{node.lineno} uses torch.load: use safetensors."
        for keyword in node.keywords:
            unsafe = keyword.arg == "allow_pickle" and not _is_false(keyword.value)
            assert not unsafe, f"{_id(path)}:{node.lineno} allows pickled objects in an array file."


@pytest.mark.parametrize("path", SOURCES, ids=_id)
def test_imports_stand_at_the_top(path: Path) -> None:
    inside = [
        node.lineno
        for function in ast.walk(_tree(path))
        if isinstance(function, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda)
        for node in ast.walk(function)
        if isinstance(node, ast.Import | ast.ImportFrom)
    ]
    assert not inside or _id(path) in LOCAL_IMPORTS, f"{_id(path)} hides an import in line {inside}."


@pytest.mark.parametrize("path", SOURCES, ids=_id)
def test_a_file_is_one_idea(path: Path) -> None:
    lines = len(path.read_text(encoding="utf-8").splitlines())
    assert lines <= MAX_LINES, f"{_id(path)} has {lines} lines: which second idea is in it?"


@pytest.mark.parametrize("name", eqnets.__all__)
def test_every_public_name_has_a_docstring(name: str) -> None:
    value = getattr(eqnets, name)
    assert inspect.getdoc(value), f"eqnets.{name} has no docstring."
    if inspect.isclass(value):
        own = value.__dict__.get("__doc__") or ""
        assert own.strip() and not own.startswith(f"{value.__name__}("), f"eqnets.{name} has no docstring of its own."


def test_the_core_needs_no_extra() -> None:
    """Importing eqnets imports none of the libraries of the extras."""
    extras = ["pandas", "h5py", "safetensors", "plotly", "typer", "torchdiffeq"]
    code = f"import sys, eqnets; print([m for m in {extras} if m in sys.modules])"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120, check=True)
    assert result.stdout.strip() == "[]"


def test_a_missing_extra_is_named() -> None:
    code = (
        "import sys; sys.modules['safetensors'] = None\n"
        "import eqnets\n"
        "try:\n    eqnets.load\n"
        "except ImportError as error:\n    print(error)"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120, check=True)
    assert "pip install 'eqnets[identify]'" in result.stdout


def test_tracked_files_name_no_machine() -> None:
    """No tracked file holds a path of one machine, a package index or a credential in an address."""
    listing = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=False)
    if listing.returncode != 0:
        pytest.skip("not a git checkout")
    forbidden = re.compile(
        r"(?<![\w.])/(?:work|root|home|Users|opt)/\w|pythonhosted\.org|pypi\.org/simple|(?:extra-)?index-url|find-links"
        r"|://[^/\s:@]+:[^/\s@]+@"
    )
    found = []
    for name in filter(None, listing.stdout.split("\0")):
        path = ROOT / name
        if path == Path(__file__).resolve() or not path.is_file():
            continue
        try:
            text = path.read_text(encoding="utf-8")
        except UnicodeDecodeError:
            continue
        found += [f"{name}:{i}" for i, line in enumerate(text.splitlines(), 1) if forbidden.search(line)]
    assert not found, found


def test_constraints_pin_everything_exactly() -> None:
    lines = [line for line in (ROOT / "constraints.txt").read_text().splitlines() if line and not line.startswith("#")]
    assert all(re.fullmatch(r"[A-Za-z0-9_.-]+==[0-9][\w.]*", line) for line in lines), lines
    assert "torch==2.13.0" in lines


def test_readme_commands_stand_alone() -> None:
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    for name, ending in (("demo", "eqnets demo -o demo --force"), ("test", "-m pytest")):
        block = re.findall(rf"<!-- command: {name} -->\n```\n([^\n]+)\n```\n", readme)
        assert len(block) == 1 and block[0].endswith(ending), block
        assert "-c constraints.txt" in block[0]


def _name(node: ast.AST) -> str:
    if isinstance(node, ast.Attribute):
        return f"{_name(node.value)}.{node.attr}"
    return node.id if isinstance(node, ast.Name) else ""


def _is_false(node: ast.AST) -> bool:
    return isinstance(node, ast.Constant) and node.value is False
