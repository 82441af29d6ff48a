"""The verbs put together, and the one place where an exception becomes a sentence and an exit code."""

from __future__ import annotations

import sys
import traceback
import warnings
from typing import Annotated, Any

import typer

import eqnets
from eqnets.cli import bench, certify, check, demo, doctor, export, fit, report, sweep, test, trade_off, verify
from eqnets.errors import CertificateError, EqnetsError, InputError, NotCertified

app = typer.Typer(
    name="eqnets",
    help="Models of measured systems that are stable by construction, with the evidence.",
    add_completion=True,
    no_args_is_help=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.command("demo")(demo.demo)
app.command("check")(check.check)
app.command("fit")(fit.fit)
app.command("test")(test.test)
app.command("certify")(certify.certify)
app.command("verify")(verify.verify)
app.command("report")(report.report)
app.command("export")(export.export)
app.command("doctor")(doctor.doctor)
app.command("bench")(bench.bench)
app.command("sweep")(sweep.sweep)
app.command("trade-off")(trade_off.trade_off)


def _version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"eqnets {eqnets.__version__}")
        raise typer.Exit


@app.callback()
def _globals(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version and exit.")
    ] = False,
    debug: Annotated[bool, typer.Option("--debug", help="Show the traceback of an error.")] = False,
) -> None:
    del version, debug  # --debug is read in `run`, where errors are caught


def run(arguments: list[str]) -> int:
    """Run one command line.

    Args:
        arguments: the words after `eqnets`.

    Returns:
        The exit code: 0 done; 1 a claim does not hold; 2 the input or the command line is wrong; 130 interrupted.
    """
    debug = "--debug" in arguments
    if debug:  # a global flag, wherever it stands
        arguments = ["--debug", *(word for word in arguments if word != "--debug")]
    command = typer.main.get_command(app)
    with warnings.catch_warnings():
        warnings.showwarning = _one_line
        try:
            code = command.main(args=arguments, prog_name="eqnets", standalone_mode=False)
            return int(code or 0)
        except BaseException as error:
            answer = _answer(error)
            if answer is None:
                raise
            code, sentence = answer
            if debug:
                traceback.print_exception(error)
            if sentence:
                sys.stderr.write(f"eqnets: {sentence}\n")
            return code


def _answer(error: BaseException) -> tuple[int, str] | None:
    """The exit code and the sentence of an exception; None for one that is to pass."""
    match error:
        case _ if _is_click(error, "NoArgsIsHelpError"):
            sys.stderr.write(f"{error.format_message()}\n")  # type: ignore[attr-defined]
            return 2, ""
        case _ if _is_click(error, "ClickException"):
            words = error.format_message().strip()  # type: ignore[attr-defined]
            context = getattr(error, "ctx", None)
            path = context.command_path if context is not None else "eqnets"
            return 2, f"{_one(words).rstrip('.')}. See: {path} --help"
        case _ if _is_click(error, "Exit"):
            return int(getattr(error, "exit_code", 0)), ""
        case InputError():
            return 2, _one(str(error))
        case NotCertified() | CertificateError():
            return 1, _one(str(error))
        case EqnetsError():
            return 1, _one(str(error))
        case KeyboardInterrupt():
            return 130, "interrupted. " + (" ".join(map(str, error.args)) or "Nothing was written.")
        case _ if _is_click(error, "Abort"):
            return 130, "interrupted. Nothing was written."
        case BrokenPipeError():
            return 0, ""
        case OSError():
            name = f" '{error.filename}'" if error.filename else ""
            return 2, f"{error.strerror or _one(str(error))}{name}; check the path and its permissions."
        case ImportError() if "pip install" in str(error):
            return 2, _one(str(error))
        case Exception():
            kind = type(error).__name__
            return (
                1,
                f"an unexpected {kind}: {_one(str(error)) or 'no message'}. Please report it, with what --debug shows.",
            )
    return None


def _is_click(error: BaseException, name: str) -> bool:
    """Whether an exception is click's of that name; newer typers bring a click of their own."""
    return any(
        kind.__name__ == name and kind.__module__.split(".")[0] in ("click", "typer") for kind in type(error).__mro__
    )


def _one(words: str) -> str:
    return " ".join(words.split())


def _one_line(message: Warning | str, category: type[Warning], *rest: Any, **others: Any) -> None:
    del rest, others
    if not issubclass(category, DeprecationWarning | PendingDeprecationWarning):
        sys.stderr.write(f"eqnets: note: {_one(str(message))}\n")
