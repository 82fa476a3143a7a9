"""``edgekit verify``: the hashes hold, and the goldens replay on every runtime here."""

from __future__ import annotations

import argparse

from edgekit.bundle import Bundle
from edgekit.cli import options
from edgekit.cli.command import Command, Parser
from edgekit.cli.console import Console, Table, counted
from edgekit.errors import VerificationError
from edgekit.pipeline.check import why_not_here
from edgekit.runtimes.parity import FAILED, PASSED, SKIPPED, Replay, verify_bundle

WORDS = {PASSED: "passed", FAILED: "FAILED", SKIPPED: "unverified"}


def configure(parser: Parser) -> None:
    """Add the arguments."""
    parser.add_argument("bundle", type=options.existing_path, help="the bundle")
    parser.add_argument("--device", default="auto", metavar="RUNTIME", help="only this runtime")
    options.add_json(parser)


def run(arguments: argparse.Namespace, console: Console) -> int:
    """Print what was shown; fail where a golden does not replay."""
    with console.progress() as stage:
        bundle = Bundle.open(arguments.bundle)
        stage("compare every file with its hash")
        paths = bundle.verify_files()
        replays = verify_bundle(bundle, device=arguments.device, progress=stage)
    failed = [replay for replay in replays if replay.status == FAILED]
    console.json(
        {
            "bundle": str(arguments.bundle),
            "files": len(paths),
            "passed": not failed and any(replay.status == PASSED for replay in replays),
            "replays": [replay.to_json() for replay in replays],
        }
    )
    files, goldens = counted(len(paths), "file"), counted(len(bundle.manifest.goldens), "golden")
    console.line(f"{files} compared with their hash, {goldens} replayed\n")
    console.table(
        Table(
            ("artifact", "runtime", "result", ">cosine", ">max error", ">SQNR dB"),
            [_row(replay) for replay in replays],
        )
    )
    for replay in replays:
        reason = _reason(replay, bundle)
        if reason:
            console.line(f"{replay.artifact}: {WORDS[replay.status]}: {reason}")
    if failed:
        names = ", ".join(f"{replay.artifact} on {replay.runtime}" for replay in failed)
        raise VerificationError(f"the goldens do not replay: {names}")
    if not any(replay.status == PASSED for replay in replays):
        raise VerificationError(
            "no artifact could be run here, so nothing was shown; "
            "edgekit doctor says what to install"
        )
    return 0


def _reason(replay: Replay, bundle: Bundle) -> str:
    if replay.runtime:
        return replay.reason
    return why_not_here(bundle.artifact(replay.artifact).format) or replay.reason


def _row(replay: Replay) -> tuple[str, ...]:
    engine = f"{replay.runtime} {replay.version}".strip() or "none here"
    if not replay.outputs:
        return replay.artifact, engine, WORDS[replay.status], "", "", ""
    return (
        replay.artifact,
        engine,
        WORDS[replay.status],
        f"{min(item.cosine for item in replay.outputs):.7f}",
        f"{max(item.max_abs_error for item in replay.outputs):.1e}",
        f"{min(item.sqnr_db for item in replay.outputs):.1f}",
    )


COMMAND = Command(configure, run)
