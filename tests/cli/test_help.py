"""`eqnets --help` in a terminal of 80 columns: every verb in one whole sentence."""

import pytest


def test_every_verb_is_one_whole_sentence(eqnets, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    said = eqnets("--help")
    assert said.code == 0
    verbs = said.out.split("Commands:\n")[1].splitlines()
    assert len(verbs) >= 12
    for line in verbs:
        assert line.startswith("  ") and line.rstrip().endswith(".") and not line.rstrip().endswith("..."), line
