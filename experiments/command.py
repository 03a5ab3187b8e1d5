"""The command line of every experiment: flags from a dataclass, errors as one line."""

import shlex
import sys
from collections.abc import Callable
from typing import Any, TypeVar

import tyro

Settings = TypeVar("Settings")


def run(main: Callable[[Settings], Any], settings: type[Settings]) -> None:
    """Reads the flags of the dataclass `settings` and calls `main` with them.

    A wrong input ends in one line on stderr and exit code 2, Ctrl-C in the command that goes on
    and exit code 130, SIGTERM in the same and 143; anything else is a bug and keeps its traceback.
    """
    try:
        main(tyro.cli(settings, description=sys.modules[main.__module__].__doc__))
    except (ValueError, TypeError, OSError, FloatingPointError) as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)
    except KeyboardInterrupt as interrupt:
        print(f"\n{str(interrupt) or 'Interrupted.'}", file=sys.stderr)
        if hasattr(interrupt, "step"):
            print(f"Go on with: {resume_command()}", file=sys.stderr)
        sys.exit(getattr(interrupt, "code", 130))


def resume_command() -> str:
    """The command as it was typed, with --resume."""
    return shlex.join([*(word for word in sys.orig_argv if word != "--resume"), "--resume"])
