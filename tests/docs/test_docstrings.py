"""Docstrings cannot lie: what every public callable says it takes is what it takes."""

import dataclasses
import inspect
import re

import pytest

import eqnets as eq

WORDS = re.compile(r"^ {4}(\*{0,2}\w+)(?: \([^)]*\))?:", re.MULTILINE)


def sections(text: str) -> dict[str, str]:
    """The sections of a Google docstring, by title."""
    parts = re.split(r"^(Args|Returns|Raises|Yields):\n", text, flags=re.MULTILINE)
    return dict(zip(parts[1::2], parts[2::2], strict=True))


def documented(text: str) -> list[str]:
    """The names under Args."""
    body = sections(text).get("Args", "")
    body = re.split(r"^\S", body, maxsplit=1, flags=re.MULTILINE)[0]
    return [name.lstrip("*") for name in WORDS.findall(body)]


def taken(value: object) -> list[str]:
    """The names that a callable takes."""
    return [name for name in inspect.signature(value).parameters if name not in ("self", "cls")]


def public() -> dict[str, object]:
    """Every callable of the front door, and the public methods that its classes define."""
    found: dict[str, object] = {}
    for name in eq.__all__:
        value = getattr(eq, name)
        if inspect.ismodule(value):
            continue
        if inspect.isclass(value) and issubclass(value, BaseException | int):
            continue  # an exception is raised by us, and Status is an enumeration: neither is called by a user
        found[name] = value
        if inspect.isclass(value):
            for method, member in inspect.getmembers(value):
                raw = inspect.getattr_static(value, method)
                ours = getattr(inspect.unwrap(getattr(member, "__func__", member)), "__module__", "") or ""
                is_function = inspect.isfunction(raw) or isinstance(raw, classmethod | staticmethod)
                if not method.startswith("_") and is_function and ours.startswith("eqnets"):
                    found[f"{name}.{method}"] = member
    plants = {n: v for n, v in vars(eq.plants).items() if inspect.isclass(v) and v.__module__ == eq.plants.__name__}
    found |= {f"plants.{name}": value for name, value in plants.items()}
    return found


PUBLIC = public()


@pytest.mark.parametrize("name", sorted(PUBLIC))
def test_the_arguments_of_a_docstring_are_those_of_the_signature(name: str) -> None:
    value = PUBLIC[name]
    text = inspect.getdoc(value)
    assert text, f"{name} has no docstring"
    one_line = "\n" not in text.strip() or "Args:" not in text
    if one_line and "." in name:
        return  # a method whose summary says it all; ruff allows it
    if not taken(value):
        return
    assert documented(text) == taken(value), name


@pytest.mark.parametrize("name", sorted(name for name in PUBLIC if "." not in name))
def test_every_public_class_and_function_says_what_it_takes(name: str) -> None:
    text = inspect.getdoc(PUBLIC[name]) or ""
    assert not taken(PUBLIC[name]) or "Args:\n" in text, name


@pytest.mark.parametrize("name", sorted(name for name, value in PUBLIC.items() if inspect.isfunction(value)))
def test_what_a_function_returns_is_said(name: str) -> None:
    text = inspect.getdoc(PUBLIC[name]) or ""
    if "\nArgs:\n" not in text:
        return
    returns = inspect.signature(PUBLIC[name]).return_annotation
    assert (returns in (None, "None", inspect.Signature.empty)) != ("\nReturns:\n" in text), name


def test_the_comparison_sees_a_difference() -> None:
    def wrong(a: int, b: int) -> None:
        """Nothing.

        Args:
            a: one.
            c: another.
        """

    assert documented(inspect.getdoc(wrong) or "") == ["a", "c"] != taken(wrong)


def test_frozen_options_document_their_fields() -> None:
    classes = [value for value in PUBLIC.values() if dataclasses.is_dataclass(value) and inspect.isclass(value)]
    assert len(classes) > 20
    for value in classes:
        fields = [field.name for field in dataclasses.fields(value) if field.init and not field.name.startswith("_")]
        assert [name for name in documented(inspect.getdoc(value) or "") if name in fields] == fields, value
