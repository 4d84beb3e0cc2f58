"""The `kvae` command. It stands outside the package, so that `kvae --help` answers without importing TensorFlow."""

import os
import sys

import typer

from kvae_cli import evaluating, exporting, looking, training

app = typer.Typer(
    help="Variational autoencoders: train, evaluate, look, sample, and ship the decoder.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)
for command in (
    training.train,
    evaluating.evaluate,
    looking.sample,
    looking.plot,
    exporting.export,
    exporting.verify,
    exporting.benchmark,
    exporting.inspect,
):
    app.command()(command)


def main():
    """Runs the command. Whatever goes wrong ends in one line and an exit code.

    1 something else, 2 wrong usage, 3 operations that a format lacks, 4 a missing package, 5 a damaged or wrong export.
    """
    try:
        app(standalone_mode=True)
    except KeyboardInterrupt:
        _fail("Interrupted.", 130)
    except Exception as error:
        if os.environ.get("KVAE_DEBUG"):
            raise
        _fail(str(error) or type(error).__name__, getattr(error, "exit_code", 1))


def _fail(message, code):
    print(f"kvae: {message}", file=sys.stderr)
    raise SystemExit(code)
