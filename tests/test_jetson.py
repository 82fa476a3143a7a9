"""A board's conditions, from recorded texts; no board was there."""

from __future__ import annotations

import stat
import time
from pathlib import Path

from edgekit.runtimes.jetson.conditions import under_conditions
from edgekit.runtimes.jetson.power import parse_mode_files, parse_nvpmodel, read_power
from edgekit.runtimes.jetson.tegrastats import parse_line, recording, summarise

ORIN_NANO = (
    "11-21-2026 10:12:04 RAM 3052/7620MB (lfb 4x4MB) SWAP 12/3810MB (cached 0MB) "
    "CPU [2%@1510,0%@1510,0%@1510,0%@1510,off,off] EMC_FREQ 0%@2133 GR3D_FREQ 61%@[624] "
    "NVDEC off NVJPG off NVJPG1 off VIC off OFA off APE 200 cpu@47.9C soc2@46.9C soc0@47.4C "
    "cv0@-256C gpu@48C tj@48.2C soc1@47C VDD_IN 4953mW/4890mW VDD_CPU_GPU_CV 532mW/540mW "
    "VDD_SOC 1419mW/1419mW"
)
NANO = (
    "RAM 2100/3956MB (lfb 2x1MB) SWAP 0/1978MB (cached 0MB) IRAM 0/252kB(lfb 252kB) "
    "CPU [14%@1479,10%@1479,8%@1479,9%@1479] EMC_FREQ 3%@1600 GR3D_FREQ 99%@921 APE 25 "
    "PLL@36.5C CPU@39C PMIC@100C GPU@37C AO@44C thermal@38C POM_5V_IN 2532/2532 "
    "POM_5V_GPU 0/0 POM_5V_CPU 405/405"
)


def test_a_line_of_jetpack_6_is_read() -> None:
    sample = parse_line(ORIN_NANO)

    assert sample is not None
    assert (sample.ram_mb, sample.ram_total_mb, sample.swap_mb) == (3052, 7620, 12)
    assert (sample.gpu_percent, sample.gpu_mhz) == (61, 624)
    assert sample.temperatures_c["tj"] == 48.2
    assert "cv0" not in sample.temperatures_c
    assert sample.rails_mw == {"VDD_IN": 4953, "VDD_CPU_GPU_CV": 532, "VDD_SOC": 1419}


def test_a_line_of_jetpack_4_is_read() -> None:
    sample = parse_line(NANO)

    assert sample is not None
    assert (sample.gpu_percent, sample.gpu_mhz) == (99, 921)
    assert max(sample.temperatures_c.values()) == 44
    assert sample.rails_mw == {"POM_5V_IN": 2532, "POM_5V_GPU": 0, "POM_5V_CPU": 405}


def test_a_line_without_figures_is_none() -> None:
    assert parse_line("tegrastats: permission denied") is None
    assert summarise([]) is None


def test_many_lines_become_one() -> None:
    lines = [ORIN_NANO, ORIN_NANO.replace("61%@[624]", "99%@[306]").replace("tj@48.2C", "tj@81C")]

    summary = summarise([sample for line in lines if (sample := parse_line(line))])

    assert summary is not None
    assert summary.gpu_percent == 80
    assert summary.gpu_mhz == (306, 624)
    assert summary.temperature_c == ("tj", 81)
    assert summary.rails_mw["VDD_IN"] == 4953
    assert summary.to_json()["samples"] == 2


def test_recording_ends_with_the_block(tmp_path: Path) -> None:
    program = tmp_path / "tegrastats"
    program.write_text(f"#!/bin/sh\nwhile true; do echo '{ORIN_NANO}'; sleep 0.05; done\n")
    program.chmod(program.stat().st_mode | stat.S_IEXEC)

    with recording(str(program)) as recorder:
        deadline = time.monotonic() + 10
        while not recorder.samples and time.monotonic() < deadline:
            time.sleep(0.02)
    count = len(recorder.samples)
    time.sleep(0.2)

    assert count == len(recorder.samples) > 0


def test_power_modes_are_read_from_both_sources() -> None:
    config = (
        "< POWER_MODEL ID=0 NAME=15W >\nCPU_A78_0 MIN_FREQ 729600\n< POWER_MODEL ID=2 NAME=MAXN >\n"
    )

    assert parse_nvpmodel("NVPM WARN: fan mode is not set!\nNV Power Mode: 25W\n1\n") == "25W"
    assert parse_nvpmodel("") == ""
    assert parse_mode_files("pmode:0002", config) == "MAXN"
    assert parse_mode_files("pmode:0007", config) == "mode 7"
    assert parse_mode_files("", config) == ""


def _board(root: Path, *, lowest: str = "729600") -> Path:
    files = {
        "etc/nv_tegra_release": "# R36 (release), REVISION: 4.3, GCID: 38968081, BOARD: generic\n",
        "proc/device-tree/model": "NVIDIA Jetson Orin Nano Engineering Reference Developer Kit\0",
        "var/lib/nvpmodel/status": "pmode:0002",
        "etc/nvpmodel.conf": "< POWER_MODEL ID=2 NAME=MAXN_SUPER >",
        "sys/devices/system/cpu/cpu0/cpufreq/scaling_min_freq": lowest,
        "sys/devices/system/cpu/cpu0/cpufreq/scaling_max_freq": "1728000",
        "sys/class/devfreq/17000000.gpu/min_freq": "1020000000",
        "sys/class/devfreq/17000000.gpu/max_freq": "1020000000",
    }
    for name, text in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)
    return root


def test_clocks_are_held_where_lowest_and_highest_are_equal(tmp_path: Path) -> None:
    free = read_power(_board(tmp_path / "free"))
    held = read_power(_board(tmp_path / "held", lowest="1728000"))

    assert (free.mode, free.cpu_mhz, free.gpu_mhz) == ("MAXN_SUPER", 1728, 1020)
    assert free.are_clocks_held is False
    assert held.are_clocks_held is True


def test_conditions_say_what_stands_beside_a_figure(tmp_path: Path) -> None:
    with under_conditions(_board(tmp_path)) as conditions:
        pass

    lines = conditions.lines()
    assert lines[0].endswith("L4T 36.4.3, power mode MAXN_SUPER, clocks free")
    assert "jetson_clocks" in lines[1]
    data = conditions.to_json()
    assert data is not None
    assert data["power"]["mode"] == "MAXN_SUPER"


def test_another_machine_has_no_conditions(tmp_path: Path) -> None:
    with under_conditions(tmp_path) as conditions:
        pass

    assert conditions.to_json() is None
    assert conditions.lines() == ()
