"""What an engine fits: a device, and what it was built from."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any

_DIGITS = 16
"""Hexadecimal digits of a digest: 64 bits, enough for a folder of engines."""

_WORDS = {"gpu": "GPU", "sm": "compute capability", "power_mode": "power mode"}


@dataclass(frozen=True)
class DeviceFacts:
    """The machine that an engine is built and runs on.

    Args:
        gpu: As CUDA names it, such as ``"Orin"``.
        sm: Compute capability, such as ``"8.7"``.
        tensorrt: Full version; that of TensorRT-RTX begins with ``"rtx-"``.
        cuda: Version of the CUDA runtime, such as ``"12.6"``.
        power_mode: Of a Jetson (``nvpmodel``), ``""`` elsewhere: kernels are chosen by
            measuring, and another mode measures other times.
    """

    gpu: str
    sm: str
    tensorrt: str
    cuda: str
    power_mode: str = ""

    @property
    def digest(self) -> str:
        """Name of what belongs to this device alone, such as its timing cache."""
        return _digest(asdict(self))

    def to_json(self) -> dict[str, str]:
        """Return a JSON-ready dict."""
        return asdict(self)

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> DeviceFacts:
        """Read what ``to_json`` wrote."""
        return cls(**{item.name: str(data[item.name]) for item in fields(cls)})


@dataclass(frozen=True)
class EngineKey:
    """All that decides whether an engine may be used.

    Args:
        device: Where it runs.
        settings: What it was built from, JSON-ready: hashes of the model and of the
            calibration cache, precision, flags, profiles, workspace, DLA core.
    """

    device: DeviceFacts
    settings: Mapping[str, Any]

    @property
    def digest(self) -> str:
        """Name of the engine's files."""
        return _digest(self.to_json())

    @property
    def model(self) -> str:
        """SHA-256 of the ONNX file, or ``""``."""
        return str(self.settings.get("model_sha256", ""))

    def differences(self, other: EngineKey) -> tuple[str, ...]:
        """Return in words where the other key differs, what matters most first."""
        ours, theirs = self.device.to_json(), other.device.to_json()
        lines = [
            f"{_WORDS.get(name, name)} {theirs[name] or 'unknown'}, not {value or 'unknown'}"
            for name, value in ours.items()
            if theirs[name] != value
        ]
        names = dict.fromkeys((*self.settings, *other.settings))
        for name in names:
            mine, its = self.settings.get(name), other.settings.get(name)
            if mine != its:
                what = name.removesuffix("_sha256").replace("_", " ")
                is_hash = name.endswith("_sha256")
                lines.append(f"another {what}" if is_hash else f"{what} {its}, not {mine}")
        return tuple(lines)

    def to_json(self) -> dict[str, Any]:
        """Return a JSON-ready dict."""
        return {"device": self.device.to_json(), "settings": dict(self.settings)}

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> EngineKey:
        """Read what ``to_json`` wrote."""
        return cls(DeviceFacts.from_json(data["device"]), dict(data["settings"]))


def _digest(data: Mapping[str, Any]) -> str:
    text = json.dumps(data, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()[:_DIGITS]
