"""Formulas link to the lines that implement them: every link resolves, and a dangling one is an error."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
LINK = re.compile(r"\{src\}`([^`]+)`")
FORMULA = re.compile(r"\$\$(.+?)\$\$|(?<!\$)\$([^$\n]+(?:\n[^$\n]+)?)\$(?!\$)", re.DOTALL)
PAGES = sorted(path for path in (ROOT / "docs").rglob("*.md") if path.parent.name not in ("runs", "lecture"))


def test_every_link_leads_to_a_line(extension) -> None:
    links = extension("source_links")
    targets = [target for page in PAGES for target in LINK.findall(page.read_text(encoding="utf-8"))]
    assert len(targets) > 40
    for target in targets:
        file, line = links.resolve(target)
        source = (ROOT / file).read_text(encoding="utf-8").splitlines()
        symbol, _, text = target.partition("::")[2].partition("::")
        assert symbol == "*" or (text or symbol.split(".")[-1]) in source[line - 1], target


@pytest.mark.parametrize(
    "target",
    ["system/lfr.py::LFR.nothing", "system/nothing.py::LFR", "system/lfr.py", "system/lfr.py::LFR::not in it at all"],
)
def test_a_dangling_link_is_an_error(extension, target: str) -> None:
    links = extension("source_links")
    with pytest.raises(links.DanglingLink, match=re.escape(target)):
        links.resolve(target)


def test_a_text_is_found_within_its_symbol_only(extension) -> None:
    links = extension("source_links")
    file, line = links.resolve("models/monotone.py::MonotoneLinear.weight::A.mT @ A")
    assert "A.mT @ A" in (ROOT / file).read_text(encoding="utf-8").splitlines()[line - 1]
    with pytest.raises(links.DanglingLink):
        links.resolve("models/monotone.py::MonotoneLinear.forward::A.mT @ A")


def test_every_page_of_the_mathematics_has_formulas_with_links() -> None:
    pages = [page for page in PAGES if page.parent.name == "maths" and page.stem != "index"]
    assert {page.stem for page in pages} == {"deq", "monotone", "ren", "lfr", "certificates"}
    for page in pages:
        text = page.read_text(encoding="utf-8")
        assert len(LINK.findall(text)) >= 6, page
        assert len(FORMULA.findall(text)) >= 4, page


def test_every_formula_can_be_shown(extension) -> None:
    pytest.importorskip("latex2mathml")
    mathml = extension("mathml").mathml
    for page in PAGES:
        prose = re.sub(r"```.*?```", "", page.read_text(encoding="utf-8"), flags=re.DOTALL)
        for display, inline in FORMULA.findall(prose):
            assert mathml(display or inline, "block" if display else "inline").startswith("<math")


def test_an_unknown_command_of_a_formula_is_an_error(extension) -> None:
    pytest.importorskip("latex2mathml")
    from sphinx.errors import SphinxError

    with pytest.raises(SphinxError, match="cannot be shown"):
        extension("mathml").mathml(r"\nosuchcommand x", "inline")


def test_the_reference_holds_every_public_name_in_its_group(extension) -> None:
    import eqnets as eq

    front_door = extension("front_door")
    groups = front_door.groups(Path(eq.__file__).read_text(encoding="utf-8"))
    assert [name for names in groups.values() for name in names] == eq.__all__
    assert "MonotoneDEQ" in groups["models"] and "certify" in groups["certification"]


def test_only_back_ticks_mean_anything_in_a_docstring(extension) -> None:
    escaped = extension("front_door").escaped
    assert escaped("|Δx|_P ≤ `a_b` *args") == r"\|Δx\|_P ≤ ``a_b`` \*args"
    assert escaped("x_ and y") == r"x\_ and y"
