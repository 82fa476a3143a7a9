"""The doctor reads recorded texts of several boards, laid out below a folder of their own."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from edgekit.runtimes import RUNTIMES
from edgekit.runtimes.doctor import Gpu, Host, gather
from edgekit.runtimes.doctor.cpu import parse_cpuinfo
from edgekit.runtimes.doctor.nvidia import (
    jetpack_of,
    parse_driver,
    parse_smi,
    parse_tegra_release,
)
from edgekit.runtimes.doctor.packages import parse_wheel_floor, why_not_offered
from edgekit.runtimes.doctor.system import parse_glibc, sees_system_packages
from edgekit.runtimes.text_files import parse_meminfo
from edgekit.runtimes.usable import NEEDS_GPU

SAPPHIRE_RAPIDS = """\
processor\t: 0
vendor_id\t: GenuineIntel
cpu family\t: 6
model\t\t: 143
model name\t: Intel(R) Xeon(R) Platinum 8480+
flags\t\t: fpu sse4_2 avx f16c avx2 avx512f avx512dq avx512_bf16 avx_vnni avx512_vnni amx_bf16 amx_tile amx_int8
power management:

processor\t: 1
vendor_id\t: GenuineIntel
model name\t: Intel(R) Xeon(R) Platinum 8480+
flags\t\t: fpu sse4_2 avx f16c avx2 avx512f avx512dq avx512_bf16 avx_vnni avx512_vnni amx_bf16 amx_tile amx_int8
"""  # noqa: E501 - as recorded

ATOM = """\
processor\t: 0
model name\t: Intel(R) Atom(TM) Processor E3950 @ 1.60GHz
flags\t\t: fpu sse4_1 sse4_2 movbe popcnt aes
"""

ORIN_NANO = """\
processor\t: 0
BogoMIPS\t: 62.50
Features\t: fp asimd evtstrm aes pmull sha1 sha2 crc32 atomics fphp asimdhp cpuid asimdrdm lrcpc dcpop asimddp uscat ilrcpc flagm paca pacg
CPU implementer\t: 0x41
CPU architecture: 8
CPU variant\t: 0x0
CPU part\t: 0xd42
CPU revision\t: 1
"""  # noqa: E501 - as recorded

RASPBERRY_PI_4 = """\
processor\t: 0
BogoMIPS\t: 108.00
Features\t: fp asimd evtstrm crc32 cpuid
CPU implementer\t: 0x41
CPU architecture: 8
CPU part\t: 0xd08
CPU revision\t: 3

Hardware\t: BCM2835
Model\t\t: Raspberry Pi 4 Model B Rev 1.4
"""

PHONE = """\
processor\t: 0
Features\t: fp asimd asimdhp asimddp
CPU implementer\t: 0x41
CPU part\t: 0xd05

processor\t: 1
Features\t: fp asimd asimdhp asimddp i8mm
CPU implementer\t: 0x41
CPU part\t: 0xd41
"""


@dataclass(frozen=True)
class CpuCase:
    id: str
    text: str
    model: str
    cores: int
    features: tuple[str, ...]


CPU_CASES = [
    CpuCase("xeon", SAPPHIRE_RAPIDS, "Intel(R) Xeon(R) Platinum 8480+", 2, (
        "avx2", "avx512f", "avx512_vnni", "avx_vnni", "avx512_bf16", "amx_int8", "amx_bf16")),
    CpuCase("atom", ATOM, "Intel(R) Atom(TM) Processor E3950 @ 1.60GHz", 1, ()),
    CpuCase("orin", ORIN_NANO, "Cortex-A78AE", 1, ("neon", "dotprod", "fp16")),
    CpuCase("raspberry_pi_4", RASPBERRY_PI_4, "Cortex-A72", 1, ("neon",)),
    CpuCase("what_all_cores_have", PHONE, "Cortex-A55 + Cortex-A78", 2, (
        "neon", "dotprod", "fp16")),
    CpuCase("empty", "", "unknown", 1, ()),
]  # fmt: skip


@pytest.mark.parametrize("case", CPU_CASES, ids=lambda case: case.id)
def test_a_processor_is_named_with_what_it_can_do(case: CpuCase) -> None:
    cpu = parse_cpuinfo(case.text)

    assert (cpu.model, cpu.cores, cpu.features) == (case.model, case.cores, case.features)


def test_what_a_processor_lacks_is_told_too() -> None:
    assert parse_cpuinfo(RASPBERRY_PI_4).absent == (
        "dotprod", "fp16", "i8mm", "bf16", "sve", "sve2",
    )  # fmt: skip


@dataclass(frozen=True)
class TextCase:
    id: str
    text: str
    expected: object


DRIVER_CASES = [
    TextCase("closed", "NVRM version: NVIDIA UNIX x86_64 Kernel Module  550.54.15  Tue Mar  5 "
             "22:23:56 UTC 2024\nGCC version:  gcc version 11.4.0", "550.54.15"),
    TextCase("open", "NVRM version: NVIDIA UNIX Open Kernel Module for x86_64  560.35.03  Release "
             "Build  (dvs-builder@U16-I1-N07-12-3)", "560.35.03"),
    TextCase("jetson", "NVRM version: NVIDIA UNIX Open Kernel Module for aarch64  540.4.0  Release "
             "Build  (buildbrain@mobile-u64-6354-d7000)", "540.4.0"),
    TextCase("none", "", None),
]  # fmt: skip


@pytest.mark.parametrize("case", DRIVER_CASES, ids=lambda case: case.id)
def test_the_drivers_version_is_found(case: TextCase) -> None:
    assert parse_driver(case.text) == case.expected


SMI_CASES = [
    TextCase("server", "NVIDIA H100 80GB HBM3, 550.54.15, 81559, 9.0\n",
             (Gpu("NVIDIA H100 80GB HBM3", "550.54.15", 81559, "9.0"),)),
    TextCase("two", "NVIDIA RTX A2000, 535.1, 6138, 8.6\nTesla T4, 535.1, 15360, 7.5\n",
             (Gpu("NVIDIA RTX A2000", "535.1", 6138, "8.6"),
              Gpu("Tesla T4", "535.1", 15360, "7.5"))),
    TextCase("shared_memory", "Orin (nvgpu), 540.4.0, [N/A], [N/A]\n",
             (Gpu("Orin (nvgpu)", "540.4.0", None, None),)),
    TextCase("failure", "NVIDIA-SMI has failed because it couldn't communicate with the driver\n",
             ()),
]  # fmt: skip


@pytest.mark.parametrize("case", SMI_CASES, ids=lambda case: case.id)
def test_every_gpu_is_listed(case: TextCase) -> None:
    assert parse_smi(case.text) == case.expected


RELEASE_CASES = [
    TextCase("jetpack_4", "# R32 (release), REVISION: 7.1, GCID: 29818004, BOARD: t210ref, "
             "EABI: aarch64, DATE: Sat Feb 19 17:05:08 UTC 2022", ("32.7.1", "4.6")),
    TextCase("jetpack_5", "# R35 (release), REVISION: 4.1, GCID: 33958178, BOARD: t186ref, "
             "EABI: aarch64, DATE: Tue Aug  1 19:57:35 UTC 2023", ("35.4.1", "5.1")),
    TextCase("jetpack_6_0", "# R36 (release), REVISION: 3.0, GCID: 36923193, BOARD: generic, "
             "EABI: aarch64, DATE: Fri Jul 19 23:24:25 UTC 2024", ("36.3.0", "6.0")),
    TextCase("jetpack_6_2", "# R36 (release), REVISION: 4.3, GCID: 38968081, BOARD: generic, "
             "EABI: aarch64, DATE: Wed Jan  8 01:49:37 UTC 2025", ("36.4.3", "6.1 or 6.2")),
    TextCase("jetpack_7", "# R38 (release), REVISION: 2.0, GCID: 41844464, BOARD: generic, "
             "EABI: aarch64, DATE: Fri Aug 22 00:55:42 UTC 2025", ("38.2.0", "7.0")),
    TextCase("from_the_future", "# R51 (release), REVISION: 1.0, GCID: 1", ("51.1.0", None)),
    TextCase("none", "", ("", None)),
]  # fmt: skip


@pytest.mark.parametrize("case", RELEASE_CASES, ids=lambda case: case.id)
def test_jetpack_follows_from_the_release_of_linux_for_tegra(case: TextCase) -> None:
    l4t = parse_tegra_release(case.text)
    jetpack = jetpack_of(l4t)

    assert (l4t, jetpack and jetpack.version) == case.expected


FLOOR_CASES = [
    TextCase("modern", "Tag: cp311-cp311-manylinux_2_28_x86_64\n", (2, 28)),
    TextCase("named_by_year", "Tag: cp38-cp38-manylinux2014_aarch64\n", (2, 17)),
    TextCase("several_tags", "Tag: cp37-abi3-manylinux_2_17_x86_64\n"
             "Tag: cp37-abi3-manylinux2014_x86_64\n", (2, 17)),
    TextCase("joined_tags", "Tag: cp310-cp310-manylinux_2_27_x86_64.manylinux_2_28_x86_64\n",
             (2, 27)),
    TextCase("pure", "Tag: py3-none-any\n", None),
    TextCase("built_here", "Tag: cp310-cp310-linux_aarch64\n", None),
    TextCase("none", "", None),
]  # fmt: skip


@pytest.mark.parametrize("case", FLOOR_CASES, ids=lambda case: case.id)
def test_a_wheels_tags_tell_the_least_glibc(case: TextCase) -> None:
    assert parse_wheel_floor(case.text) == case.expected


def test_small_system_texts_are_read() -> None:
    assert parse_glibc("glibc 2.31") == (2, 31)
    assert parse_glibc("musl 1.2.4") is None
    assert parse_meminfo("MemTotal:  16 kB\nHugePages_Total:  0\n") == {"MemTotal": 16384}
    assert sees_system_packages("home = /usr/bin\nInclude-System-Site-Packages = TRUE\n")
    assert not sees_system_packages("include-system-site-packages = false\n")


def lay_file(root: Path, place: str, text: str) -> None:
    path = root / place
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")


def lay_package(site: Path, name: str, version: str, tag: str) -> None:
    folder = f"{name.replace('-', '_')}-{version}.dist-info"
    lay_file(
        site, f"{folder}/METADATA", f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n"
    )
    lay_file(site, f"{folder}/WHEEL", f"Wheel-Version: 1.0\nTag: {tag}\n")


@pytest.fixture
def site(tmp_path: Path) -> Path:
    folder = tmp_path / "site"
    folder.mkdir()
    lay_package(folder, "opencv-python-headless", "4.12.0", "cp37-abi3-manylinux2014_aarch64")
    return folder


@pytest.fixture
def host(tmp_path: Path, site: Path) -> Host:
    """Return a bare arm machine with glibc 2.35 and Python 3.10 in a virtual environment."""
    return Host(
        root=tmp_path / "root",
        system="Linux",
        machine="aarch64",
        python=(3, 10, 12),
        glibc=(2, 35),
        executable="/home/user/.venv/bin/python",
        is_venv=True,
        sees_system_packages=False,
        search_path=(str(site),),
    )


@pytest.fixture
def orin(host: Host) -> Host:
    """Return an Orin Nano with JetPack 6.2."""
    root = host.root
    lay_file(root, "etc/nv_tegra_release", "# R36 (release), REVISION: 4.3, GCID: 38968081\n")
    lay_file(root, "etc/os-release", 'NAME="Ubuntu"\nPRETTY_NAME="Ubuntu 22.04.5 LTS"\n')
    lay_file(root, "proc/cpuinfo", ORIN_NANO)
    lay_file(root, "proc/meminfo", "MemTotal:        7802980 kB\nMemAvailable:    6190000 kB\n")
    lay_file(root, "proc/device-tree/model", "NVIDIA Jetson Orin Nano Developer Kit\0")
    return host


def lay_bindings(root: Path, python: str, version: str) -> None:
    folder = f"usr/lib/{python}/dist-packages"
    lay_file(root, f"{folder}/tensorrt/__init__.py", "raise RuntimeError('imported')\n")
    lay_file(root, f"{folder}/tensorrt-{version}.dist-info/METADATA", "Name: tensorrt\n")


def test_a_jetson_is_described_from_its_files(orin: Host) -> None:
    report = gather(orin)

    assert report.os == "Ubuntu 22.04.5 LTS"
    assert report.cpu.model == "Cortex-A78AE"
    assert report.memory is not None
    assert report.memory.total == 7802980 * 1024
    assert report.jetson is not None
    assert report.jetson.model == "NVIDIA Jetson Orin Nano Developer Kit"
    assert report.jetson.jetpack is not None
    assert report.jetson.jetpack.tensorrt == "10.3"


def test_a_jetson_without_tensorrts_module_is_told_the_apt_line(orin: Host) -> None:
    assert any("sudo apt install python3-libnvinfer" in line for line in gather(orin).advice)


def test_a_boards_power_clocks_and_swap_are_told_with_what_to_do(orin: Host) -> None:
    lay_file(orin.root, "var/lib/nvpmodel/status", "pmode:0001")
    lay_file(orin.root, "etc/nvpmodel.conf", "< POWER_MODEL ID=1 NAME=15W >\n")
    cpu = "sys/devices/system/cpu/cpu0/cpufreq"
    lay_file(orin.root, f"{cpu}/scaling_min_freq", "729600")
    lay_file(orin.root, f"{cpu}/scaling_max_freq", "1510400")
    lay_file(
        orin.root, "proc/meminfo", "MemTotal: 7802980 kB\nMemAvailable: 1 kB\nSwapTotal: 0 kB\n"
    )

    report = gather(orin)

    assert report.power is not None
    assert (report.power.mode, report.power.are_clocks_held) == ("15W", False)
    advice = "\n".join(report.advice)
    for words in ("add swap", "the power mode is 15W", "sudo jetson_clocks", "nvidia-jetpack"):
        assert words in advice


def test_cuda_and_trtexec_of_a_board_are_found(orin: Host) -> None:
    lay_file(orin.root, "usr/local/cuda-12.6/lib64/libcudart.so.12", "")
    lay_file(orin.root, "usr/src/tensorrt/bin/trtexec", "")

    report = gather(orin)

    assert [Path(path).name for path in report.cuda] == ["libcudart.so.12"]
    assert report.trtexec.endswith("/usr/src/tensorrt/bin/trtexec")


def test_bindings_outside_the_environment_are_found_and_made_visible(orin: Host) -> None:
    lay_bindings(orin.root, "python3.10", "10.3.0")

    report = gather(orin)

    (bindings,) = report.bindings
    assert (bindings.version, bindings.python) == ("10.3.0", (3, 10))
    assert any("python3.10 -m venv --system-site-packages" in line for line in report.advice)


def test_bindings_for_another_python_name_that_python(orin: Host) -> None:
    lay_bindings(orin.root, "python3.8", "8.5.2.2")

    report = gather(orin)

    assert any("for Python 3.8, and this is Python 3.10.12" in line for line in report.advice)


def test_an_old_python_is_told_first(orin: Host) -> None:
    report = gather(replace(orin, python=(3, 8, 10)))

    assert report.advice[0] == "EdgeKit needs Python 3.10; this is 3.8.10"


def test_litert_on_jetpack_5_is_known_not_to_load_though_its_tag_says_so(
    host: Host, site: Path
) -> None:
    lay_package(site, "ai-edge-litert", "2.3.0", "cp310-cp310-manylinux_2_27_aarch64")

    report = gather(replace(host, glibc=(2, 31)))

    litert = next(runtime for runtime in report.runtimes if runtime.name == "litert")
    assert litert.is_installed
    assert "ai-edge-litert 2.3.0 needs glibc 2.34 and this system has 2.31" in litert.problems[0]


def test_litert_with_a_new_enough_glibc_has_no_problem(host: Host, site: Path) -> None:
    lay_package(site, "ai-edge-litert", "2.3.0", "cp310-cp310-manylinux_2_27_aarch64")

    report = gather(host)

    litert = next(runtime for runtime in report.runtimes if runtime.name == "litert")
    assert litert.problems == ()


@dataclass(frozen=True)
class OfferCase:
    id: str
    runtime: str
    machine: str
    glibc: tuple[int, int] | None
    words: str


OFFER_CASES = [
    OfferCase("jetpack_5", "litert", "aarch64", (2, 31), "needs glibc 2.34"),
    OfferCase("jetpack_5_onnxruntime", "onnxruntime", "aarch64", (2, 31), ""),
    OfferCase("jetpack_6", "litert", "aarch64", (2, 35), ""),
    OfferCase("server", "litert", "x86_64", (2, 27), ""),
    OfferCase("arm_32_bit", "litert", "armv7l", (2, 36), "tflite-runtime==2.14.0"),
    OfferCase("alpine", "openvino", "x86_64", None, "musl"),
]


@pytest.mark.parametrize("case", OFFER_CASES, ids=lambda case: case.id)
def test_a_wheel_that_would_not_load_is_not_advised(case: OfferCase, host: Host) -> None:
    reason = why_not_offered(case.runtime, replace(host, machine=case.machine, glibc=case.glibc))

    assert (case.words in reason) if case.words else reason == ""


def test_a_bare_jetpack_5_is_offered_the_one_runtime_that_loads_there(host: Host) -> None:
    report = gather(replace(host, glibc=(2, 31)))

    assert {runtime.name: runtime.install for runtime in report.runtimes} == {
        "onnxruntime": "pip install 'edgekit[onnxruntime]'",
        "openvino": "",
        "litert": "",
    }
    assert "no runtime is installed; run: pip install 'edgekit[onnxruntime]'" in report.advice


def test_the_old_tflite_library_beside_numpy_2_is_a_problem(host: Host, site: Path) -> None:
    lay_package(site, "tflite-runtime", "2.14.0", "cp310-cp310-manylinux_2_34_aarch64")
    lay_package(site, "numpy", "2.2.6", "cp310-cp310-manylinux_2_17_aarch64")

    report = gather(host)

    litert = next(runtime for runtime in report.runtimes if runtime.name == "litert")
    assert litert.problems == (
        "tflite-runtime breaks with numpy 2.2.6; run: pip install 'numpy<2'",
    )


def test_two_packages_that_write_one_folder_are_a_problem(host: Host, site: Path) -> None:
    lay_package(site, "onnxruntime", "1.20.0", "cp310-cp310-manylinux_2_27_aarch64")
    lay_package(site, "onnxruntime-gpu", "1.20.0", "cp310-cp310-manylinux_2_27_aarch64")
    lay_package(site, "opencv-python", "4.12.0", "cp37-abi3-manylinux2014_aarch64")

    advice = "\n".join(gather(host).advice)

    assert "onnxruntime and onnxruntime-gpu write the same folder" in advice
    assert "several OpenCV packages write the same folder" in advice


def test_a_machine_without_any_of_the_files_is_still_described(host: Host) -> None:
    report = gather(host)

    assert (report.os, report.memory, report.driver, report.jetson) == ("unknown", None, None, None)


def test_every_runtime_of_the_table_is_reported_on_this_machine() -> None:
    report = gather()

    on_cpu = [name for name in RUNTIMES if name not in NEEDS_GPU]
    assert [runtime.name for runtime in report.runtimes] == on_cpu
    for runtime in report.runtimes:
        assert runtime.is_installed or runtime.install or runtime.problems


def test_the_report_is_json() -> None:
    data = json.loads(json.dumps(gather().to_json()))

    assert data["host"]["python"] == list(sys.version_info[:3])


def test_gathering_imports_nothing_that_it_reports_on() -> None:
    code = (
        "import sys; from edgekit.runtimes.doctor import gather; gather();"
        "heavy = {'numpy', 'cv2', 'onnxruntime', 'openvino', 'ai_edge_litert', 'tensorrt'};"
        "print(sorted(heavy & set(sys.modules)))"
    )

    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)

    assert done.stdout.strip() == "[]"
