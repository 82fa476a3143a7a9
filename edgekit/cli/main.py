"""``edgekit``: find the command, run it, turn its errors into one line and a status.

Exit status: 0 done; 1 to 9 as the error tree says (see ``edgekit.errors``); 70 our
own fault; 130 stopped by Ctrl-C; 141 the reader of our output went away.
"""

from __future__ import annotations

import errno
import json
import os
import signal
import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import NoReturn

from edgekit._version import __version__
from edgekit.cli import COMMANDS
from edgekit.errors import EdgeKitError, UsageError
from edgekit.registry import pick

INTERNAL_ERROR = 70  # EX_SOFTWARE of sysexits.h
INTERRUPTED = 130  # 128 + SIGINT, as shells report it
BROKEN_PIPE = 141  # 128 + SIGPIPE

_REFUSALS = frozenset(
    getattr(errno, name, 0)
    for name in (
        "EACCES", "EDQUOT", "EFBIG", "EIO", "EISDIR", "ELOOP", "EMFILE", "ENAMETOOLONG", "ENFILE",
        "ENOENT", "ENOSPC", "ENOTDIR", "EPERM", "EROFS",
    )
)  # fmt: skip

_HELP_WORDS = ("-h", "--help", "help")
_VERBOSE_WORDS = ("-v", "--verbose")


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command and return the exit status.

    Args:
        argv: Words after ``edgekit``; None takes the process's own.
    """
    words = list(sys.argv[1:] if argv is None else argv)
    with _noticing_ctrl_c() as came:
        return _status(words, came)


def _status(words: list[str], came: list[int]) -> int:
    try:
        status = _dispatch(words)
        sys.stdout.flush()
    except EdgeKitError as error:
        return _stopped() if came else _report(error, words)
    except KeyboardInterrupt:
        return _stopped()
    except BrokenPipeError:
        # The interpreter flushes stdout again as it ends; that must not complain either.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return BROKEN_PIPE
    except Exception as error:
        return _stopped() if came else _report_bug(error, words)
    return status


@contextmanager
def _noticing_ctrl_c() -> Iterator[list[int]]:
    """Yield a list that Ctrl-C is put into, whatever becomes of its exception.

    numpy and pybind11 make an ImportError of one that comes while they are imported.
    """
    came: list[int] = []

    def interrupt(number: int, _frame: object) -> NoReturn:
        came.append(number)
        raise KeyboardInterrupt

    is_ours = (
        threading.current_thread() is threading.main_thread()
        and signal.getsignal(signal.SIGINT) is signal.default_int_handler
    )
    if is_ours:
        signal.signal(signal.SIGINT, interrupt)
    try:
        yield came
    finally:
        if is_ours:
            signal.signal(signal.SIGINT, signal.default_int_handler)


def _stopped() -> int:
    print("edgekit: stopped; nothing half-written is left", file=sys.stderr)
    return INTERRUPTED


def _dispatch(words: list[str]) -> int:
    verbose = [word for word in words[:1] if word in _VERBOSE_WORDS]
    words = words[len(verbose) :]
    if not words or words[0] in _HELP_WORDS:
        if len(words) > 1 and words[0] == "help":
            return _dispatch([words[1], "--help"])
        print(_help_text())
        return 0 if words else UsageError.exit_status
    if words[0] in ("--version", "-V"):
        print(f"edgekit {__version__}")
        return 0
    if words[0].startswith("-"):
        raise UsageError(f"edgekit has no option {words[0]}; see: edgekit --help")
    return _run_command(words[0], [*words[1:], *verbose])


def _run_command(name: str, argv: list[str]) -> int:
    entry = pick(COMMANDS, name, kind="command")
    _end_on_sigterm()

    from edgekit.cli.command import Command, Parser
    from edgekit.cli.console import Console

    command: Command = entry.load()
    parser = Parser(f"edgekit {name}", description=f"{entry.summary}.", epilog=command.example)
    command.configure(parser)
    parser.add_argument(*_VERBOSE_WORDS, action="store_true", help="log what is done; full errors")
    with _of_the_system():
        options = parser.parse_strictly(argv)
    if options.verbose:
        _start_logging()
    console = Console(json_only=getattr(options, "json", False))
    try:
        with _of_the_system():
            return command.run(options, console)
    except EdgeKitError as error:
        if not console.has_answered:
            raise
        # stdout already holds its one document, which tells what failed.
        return _report(error, [word for word in argv if word != "--json"])


@contextmanager
def _of_the_system() -> Iterator[None]:
    """Say in one line what the system refuses: a full disk, a folder that is not ours.

    Raises:
        UsageError: Instead of the system's error; another of its kind is a fault of ours.
    """
    try:
        yield
    except OSError as error:
        if error.errno not in _REFUSALS:
            raise
        what = " and ".join(str(name) for name in (error.filename, error.filename2) if name)
        raise UsageError(
            f"the system refuses {what or 'a file'}: {error.strerror}; check the path, its "
            "permissions and the free space"
        ) from error


def _help_text() -> str:
    width = max(map(len, COMMANDS))
    commands = "\n".join(f"  {name:<{width}}  {entry.summary}" for name, entry in COMMANDS.items())
    return (
        "usage: edgekit COMMAND [OPTIONS]\n\n"
        "One trained model, one bundle for a Jetson GPU, an Intel CPU and a phone.\n\n"
        f"commands:\n{commands}\n\n"
        "options:\n"
        "  -h, --help     this text; edgekit COMMAND --help for a command's own\n"
        "  -V, --version  the version\n"
        "  -v, --verbose  log what is done; full errors"
    )


def _report(error: EdgeKitError, words: Sequence[str]) -> int:
    print(f"edgekit: error {error.code}: {error}", file=sys.stderr)
    if "--json" in words:
        print(json.dumps({"error": {"code": error.code, "message": str(error)}}, indent=2))
    if _wants_traceback(words):
        _print_traceback(error)
    return error.exit_status


def _report_bug(error: Exception, words: Sequence[str]) -> int:
    print(
        f"edgekit: internal error: {type(error).__name__}: {error}\n"
        "This is a fault in EdgeKit, not in your model; please report it with the output of:\n"
        f"  EDGEKIT_DEBUG=1 edgekit {' '.join(words)}",
        file=sys.stderr,
    )
    if _wants_traceback(words):
        _print_traceback(error)
    return INTERNAL_ERROR


def _wants_traceback(words: Sequence[str]) -> bool:
    return bool(os.environ.get("EDGEKIT_DEBUG")) or any(word in _VERBOSE_WORDS for word in words)


def _print_traceback(error: Exception) -> None:
    import traceback

    traceback.print_exception(type(error), error, error.__traceback__)


def _start_logging() -> None:
    import logging

    logging.basicConfig(format="%(name)s: %(message)s", level=logging.INFO, stream=sys.stderr)


def _end_on_sigterm() -> None:
    """Make SIGTERM unwind the stack, so that folders of half-made files are removed."""

    def leave(number: int, _frame: object) -> NoReturn:
        raise SystemExit(128 + number)

    try:
        signal.signal(signal.SIGTERM, leave)
    except ValueError:  # main() is called from another thread than the main one
        return
