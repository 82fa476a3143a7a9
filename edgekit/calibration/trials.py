"""What a search has measured, kept on disk: a killed one goes on where it was."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from pathlib import Path

from edgekit.calibration.contract import Recipe, Trial
from edgekit.calibration.sensitivity import Sensitivity
from edgekit.errors import CalibrationError

_SCHEMA = 2


class Memory:
    """Trials by recipe and artifacts; written to a file after each, where there is one.

    Args:
        path: The file; None keeps them in memory alone.
        key: What the trials hold for: hashes of the model, the samples and the options that
            a measurement depends on. The promise and the time are none of them, so that a
            weaker promise or more time begins with all that is known.
    """

    def __init__(self, path: Path | None = None, *, key: str = "") -> None:
        self._path = path
        self._key = key
        self._known: list[tuple[tuple[str, ...], Trial]] = []
        self._costs: list[tuple[Recipe, tuple[Sensitivity, ...], str]] = []

    def __len__(self) -> int:
        return len(self._known)

    def find(self, recipe: Recipe, artifacts: Sequence[str]) -> Trial | None:
        """Return the trial of the recipe on these artifacts, or None."""
        wanted = _sorted(artifacts)
        return next(
            (trial for names, trial in self._known if names == wanted and trial.recipe == recipe),
            None,
        )

    def add(self, trial: Trial, artifacts: Sequence[str]) -> None:
        """Keep a trial, in place of what was known of its recipe on these artifacts."""
        names = _sorted(artifacts)
        others = [
            item for item in self._known if (item[0], item[1].recipe) != (names, trial.recipe)
        ]
        self._known = [*others, (names, trial)]
        self._save()

    def find_costs(self, recipe: Recipe) -> tuple[tuple[Sensitivity, ...], str] | None:
        """Return what the recipe's layers cost and what that was measured on, or None.

        Their order is part of the search: times measured again would give another one.
        """
        return next(((costs, on) for known, costs, on in self._costs if known == recipe), None)

    def add_costs(self, recipe: Recipe, costs: Sequence[Sensitivity], on: str) -> None:
        """Keep what the recipe's layers cost, in order, and what that was measured on."""
        self._costs.append((recipe, tuple(costs), on))
        self._save()

    def forget(self) -> None:
        """Remove the file."""
        if self._path is not None:
            self._path.unlink(missing_ok=True)

    @classmethod
    def load(cls, path: Path, *, key: str) -> Memory:
        """Return what a file holds; an absent file holds nothing.

        Raises:
            CalibrationError: It is malformed, or of another model, data or options.
        """
        memory = cls(path, key=key)
        if not path.exists():
            return memory
        try:
            data = json.loads(path.read_text(encoding="utf-8"))
            stored = (int(data["schema_version"]), str(data["key"]))
            known = [
                (_sorted(item["artifacts"]), Trial.from_json(item["trial"]))
                for item in data["trials"]
            ]
            costs = [
                (
                    Recipe.from_json(item["recipe"]),
                    tuple(Sensitivity.from_json(cost) for cost in item["costs"]),
                    str(item["on"]),
                )
                for item in data["layers"]
            ]
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            raise CalibrationError(
                f"{path} is not the state of a search: {error!r}; delete it to start afresh"
            ) from error
        if stored != (_SCHEMA, key):
            raise CalibrationError(
                f"{path} is the state of another search: the model, the samples or the options "
                "differ; delete it, or leave --resume out, to start afresh"
            )
        memory._known, memory._costs = known, costs
        return memory

    def _save(self) -> None:
        if self._path is None:
            return
        data = {
            "schema_version": _SCHEMA,
            "key": self._key,
            "trials": [
                {"artifacts": list(names), "trial": trial.to_json()} for names, trial in self._known
            ],
            "layers": [
                {"recipe": recipe.to_json(), "costs": [cost.to_json() for cost in costs], "on": on}
                for recipe, costs, on in self._costs
            ],
        }
        temporary = self._path.with_name(f".{self._path.name}.tmp")
        temporary.write_text(json.dumps(data, indent=1) + "\n", encoding="utf-8")
        temporary.replace(self._path)


def _sorted(names: Iterable[str]) -> tuple[str, ...]:
    return tuple(sorted(str(name) for name in names))
