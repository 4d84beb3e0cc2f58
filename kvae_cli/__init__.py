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
for command in (training.train, evaluating.evaluate, looking.sample, looking.plot, exporting.export):
    app.command()(command)


def main():
    """Runs the command; whatever goes wrong ends in one line and exit code 1, wrong usage in exit code 2."""
    try:
        app(standalone_mode=True)
    except KeyboardInterrupt:
        _fail("Interrupted.", 130)
    except Exception as error:
        if os.environ.get("KVAE_DEBUG"):
            raise
        _fail(str(error) or type(error).__name__, 1)


def _fail(message, code):
    print(f"kvae: {message}", file=sys.stderr)
    raise SystemExit(code)
