"""The processor and those of its instructions that decide how fast inference is."""

from __future__ import annotations

import platform
import re
from dataclasses import dataclass
from pathlib import Path

from edgekit.runtimes.doctor.system import cpu_count
from edgekit.runtimes.text_files import read_text

X86_FEATURES = {
    "avx2": "avx2",
    "avx512f": "avx512f",
    "avx512_vnni": "avx512_vnni",
    "avx_vnni": "avx_vnni",
    "avx512_bf16": "avx512_bf16",
    "amx_int8": "amx_int8",
    "amx_bf16": "amx_bf16",
}
"""Feature to its flag in ``/proc/cpuinfo`` (Linux arch/x86/include/asm/cpufeatures.h)."""

ARM_FEATURES = {
    "neon": "asimd",
    "dotprod": "asimddp",
    "fp16": "asimdhp",
    "i8mm": "i8mm",
    "bf16": "bf16",
    "sve": "sve",
    "sve2": "sve2",
}
"""Feature to its flag in ``/proc/cpuinfo`` (Linux Documentation/arch/arm64/elf_hwcaps.rst)."""

ARM_PARTS = {
    ("0x41", "0xd03"): "Cortex-A53",
    ("0x41", "0xd05"): "Cortex-A55",
    ("0x41", "0xd07"): "Cortex-A57",
    ("0x41", "0xd08"): "Cortex-A72",
    ("0x41", "0xd09"): "Cortex-A73",
    ("0x41", "0xd0a"): "Cortex-A75",
    ("0x41", "0xd0b"): "Cortex-A76",
    ("0x41", "0xd0c"): "Neoverse-N1",
    ("0x41", "0xd0d"): "Cortex-A77",
    ("0x41", "0xd40"): "Neoverse-V1",
    ("0x41", "0xd41"): "Cortex-A78",
    ("0x41", "0xd42"): "Cortex-A78AE",
    ("0x41", "0xd49"): "Neoverse-N2",
    ("0x41", "0xd4f"): "Neoverse-V2",
    ("0x41", "0xd83"): "Neoverse-V3AE",
    ("0x4e", "0x003"): "NVIDIA Denver 2",
    ("0x4e", "0x004"): "NVIDIA Carmel",
}
"""Implementer and part to a name (util-linux sys-utils/lscpu-arm.c)."""


@dataclass(frozen=True)
class Cpu:
    """One machine's processor.

    Args:
        model: Its name; several, joined by ``" + "``, on a big.LITTLE board.
        cores: Logical processors that this process may use.
        features: What it has of ``X86_FEATURES`` or ``ARM_FEATURES``.
        absent: What it lacks of them.
    """

    model: str
    cores: int
    features: tuple[str, ...] = ()
    absent: tuple[str, ...] = ()


def read_cpu(root: Path, machine: str) -> Cpu:
    """Return the processor of the machine whose ``/proc`` is below root."""
    text = read_text(root / "proc/cpuinfo")
    if not text:
        return Cpu(platform.processor() or machine, cpu_count())
    cpu = parse_cpuinfo(text)
    return cpu if root != Path("/") else Cpu(cpu.model, cpu_count(), cpu.features, cpu.absent)


def parse_cpuinfo(text: str) -> Cpu:
    """Return what ``/proc/cpuinfo`` says, of an x86 or an arm machine."""
    fields: dict[str, list[str]] = {}
    for key, value in re.findall(r"^([^:\n]+?)[ \t]*:[ \t]*(.*)$", text, re.MULTILINE):
        fields.setdefault(key, []).append(value.strip())
    is_arm = "CPU part" in fields or "Features" in fields
    known = ARM_FEATURES if is_arm else X86_FEATURES
    # Only what all cores have can be used by a thread that may run on any.
    lines = [set(line.split()) for line in fields.get("Features" if is_arm else "flags", [])]
    flags = set.intersection(*lines) if lines else set()
    return Cpu(
        model=_arm_model(fields) if is_arm else fields.get("model name", ["unknown"])[0],
        cores=len(fields.get("processor", [])) or 1,
        features=tuple(name for name, flag in known.items() if flag in flags),
        absent=tuple(name for name, flag in known.items() if flag not in flags),
    )


def _arm_model(fields: dict[str, list[str]]) -> str:
    makers, parts = fields.get("CPU implementer", []), fields.get("CPU part", [])
    pairs = dict.fromkeys(zip(makers, parts, strict=False))
    names = [ARM_PARTS.get(pair, f"arm {pair[0]}:{pair[1]}") for pair in pairs]
    return " + ".join(names) or fields.get("model name", ["arm"])[0]
