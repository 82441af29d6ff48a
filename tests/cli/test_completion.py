"""Shell completion: the script can be had, and the words it asks for are the verbs and their options."""

import pytest

from eqnets.cli.app import run


@pytest.fixture
def complete(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]):
    """What the shell's script is answered for a line that is being typed."""

    def words(line: str) -> set[str]:
        monkeypatch.setenv("_EQNETS_COMPLETE", "complete_bash")
        monkeypatch.setenv("COMP_WORDS", line)
        monkeypatch.setenv("COMP_CWORD", str(len(line.split(" ")) - 1))
        with pytest.raises(SystemExit) as ended:
            run([])
        assert ended.value.code == 0
        return set(capsys.readouterr().out.split())

    return words


def test_verbs_complete(complete) -> None:
    assert complete("eqnets re") == {"report"}
    assert {"demo", "fit", "verify"} <= complete("eqnets ")


def test_options_complete(complete) -> None:
    assert {"--guarantee", "--minutes"} <= complete("eqnets fit --")


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_the_script_of_a_shell_can_be_shown(
    shell: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("shellingham.detect_shell", lambda *_: (shell, f"/bin/{shell}"))  # else that of who runs pytest
    with pytest.raises(SystemExit) as ended:
        run(["--show-completion"])
    assert ended.value.code == 0
    script = capsys.readouterr().out
    assert "_EQNETS_COMPLETE" in script and "eqnets" in script
