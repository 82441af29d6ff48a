"""Pages run: every `pycon` block is executed and its output compared; every console line is a command that exists."""

import doctest
import re
import shlex
from pathlib import Path

import pytest
import typer

from eqnets.cli.app import app

DOCS = Path(__file__).parents[2] / "docs"
PAGES = sorted(path for folder in ("start", "howto", "maths") for path in (DOCS / folder).glob("*.md"))
FENCE = re.compile(r"^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def blocks(path: Path, language: str) -> list[str]:
    return [body for kind, body in FENCE.findall(path.read_text(encoding="utf-8")) if kind == language]


WITH_SESSIONS = [path for path in PAGES if blocks(path, "pycon")]


@pytest.mark.parametrize("path", WITH_SESSIONS, ids=lambda path: path.stem)
def test_the_sessions_of_a_page_run_as_written(path: Path, tmp_path: Path) -> None:
    session = "\n".join(blocks(path, "pycon"))
    test = doctest.DocTestParser().get_doctest(session, {"directory": tmp_path}, path.stem, str(path), 0)
    assert test.examples
    words: list[str] = []
    result = doctest.DocTestRunner(verbose=False).run(test, out=words.append)
    assert result.failed == 0, "\n".join(words)


def test_a_wrong_output_is_seen() -> None:
    test = doctest.DocTestParser().get_doctest(">>> 1 + 1\n3\n", {}, "wrong", None, 0)
    assert doctest.DocTestRunner(verbose=False).run(test, out=lambda _: None).failed == 1


def test_the_starts_and_most_recipes_have_sessions() -> None:
    assert {"implicit_layer", "certified_model", "solvers", "differentiate", "certificates"} <= {
        path.stem for path in WITH_SESSIONS
    }


def commands() -> list[tuple[str, str]]:
    lines = [
        (path.stem, line)
        for path in PAGES
        for body in blocks(path, "console")
        for line in body.replace("\\\n", "").splitlines()
    ]
    return [(page, line.removeprefix("$ ")) for page, line in lines if line.startswith("$ eqnets ")]


@pytest.mark.parametrize(("page", "line"), commands())
def test_every_command_of_a_page_has_that_verb_and_those_options(page: str, line: str) -> None:
    del page
    verb, *words = shlex.split(line, comments=True)[1:]
    command = typer.main.get_command(app).commands[verb]  # type: ignore[attr-defined]
    options = {name for parameter in command.params for name in parameter.opts}
    assert {word for word in words if word.startswith("-")} <= options
