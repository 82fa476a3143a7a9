"""List the enrolled people, or forget one."""

from __future__ import annotations

import argparse

from edgekit.apps.app import Output
from edgekit.apps.face_unlock import arguments as given
from edgekit.apps.face_unlock.store import read_store


def configure_people(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of ``people``."""
    given.add_store(parser)
    given.add_json(parser)


def run_people(arguments: argparse.Namespace, output: Output) -> int:
    """List who is enrolled."""
    store = read_store(arguments.store)
    counts = {name: len(vectors) for name, vectors in store.people.items()}
    output.answer({"store": str(arguments.store), "model": store.model, "people": counts})
    output.table(("name", ">views"), [(name, str(count)) for name, count in counts.items()])
    output.line(f"{len(counts)} enrolled with {store.model}, in {arguments.store}")
    return 0


def configure_forget(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of ``forget``."""
    parser.add_argument("name", metavar="NAME", help="of the person")
    given.add_store(parser)
    given.add_json(parser)


def run_forget(arguments: argparse.Namespace, output: Output) -> int:
    """Delete a person's vectors."""
    store = read_store(arguments.store).without(arguments.name)
    store.save(arguments.store)
    output.answer({"forgot": arguments.name, "people": len(store.people)})
    output.line(f"forgot {arguments.name}; {len(store.people)} left in {arguments.store}")
    return 0
