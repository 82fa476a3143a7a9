"""Commands print tables, lines and progress in one way; JSON mode prints nothing else."""

from __future__ import annotations

import json
from dataclasses import dataclass
from html import unescape
from pathlib import Path

import pytest

from edgekit.cli import build, convert
from edgekit.cli import console as console_module
from edgekit.cli import eval as evaluate
from edgekit.cli.command import Command, Parser
from edgekit.cli.console import Console, Table, human_bytes, markdown_table, plain_table
from edgekit.cli.options import collect_shapes, shape
from edgekit.errors import UsageError

FIGURES = Table(("name", ">ms"), (("onnx", "1.5"), ("openvino", "10.25")), title="Latency")


def test_a_plain_table_aligns_names_left_and_numbers_right() -> None:
    text = plain_table(FIGURES)

    assert text.splitlines() == [
        "Latency",
        "",
        "name         ms",
        "--------  -----",
        "onnx        1.5",
        "openvino  10.25",
    ]


def test_a_markdown_table_is_aligned_up_to_its_last_column() -> None:
    table = Table(("name", ">ms", "why"), (("onnx", "1.5", "short"), ("openvino", "10.25", "long")))

    assert markdown_table(table) == (
        "| name     |    ms | why |\n"
        "| -------- | ----: | --- |\n"
        "| onnx     |   1.5 | short |\n"
        "| openvino | 10.25 | long |\n"
    )


def test_a_cell_of_a_markdown_table_stands_as_it_is() -> None:
    markdown_it = pytest.importorskip("markdown_it")
    odd = "a|b <script> **x** `y` [l](u) \\| &lt;\nend"

    html = (
        markdown_it.MarkdownIt()
        .enable("table")
        .render(markdown_table(Table(("name", "why"), (("one", odd),))))
    )

    shown = unescape(html.split("<td>")[2].partition("</td>")[0])
    assert shown == "a|b <script> **x** `y` [l](u) \\| &lt; end"


def test_json_mode_prints_the_document_only(capsys: pytest.CaptureFixture[str]) -> None:
    console = Console(json_only=True)

    console.line("a line")
    console.table(FIGURES)
    with console.progress() as stage:
        stage("load")
    console.json({"a": 1})

    captured = capsys.readouterr()
    assert json.loads(captured.out) == {"a": 1}
    assert captured.err == ""


def test_lines_mode_prints_no_json(capsys: pytest.CaptureFixture[str]) -> None:
    console = Console()

    console.line("a line")
    console.json({"a": 1})

    assert capsys.readouterr().out == "a line\n"


def test_progress_goes_to_stderr_a_line_per_stage(capsys: pytest.CaptureFixture[str]) -> None:
    with Console().progress() as stage:
        stage("load")
        stage("simplify")

    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.splitlines() == ["load", "simplify"]


def test_a_failed_stage_is_not_shown_as_done(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(UsageError), Console().progress() as stage:
        stage("load")
        raise UsageError("no")

    assert capsys.readouterr().err == ""


def test_a_terminal_without_rich_gets_the_plain_table(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("sys.stdout.isatty", lambda: True)
    monkeypatch.setattr(console_module, "is_installed", lambda name: False)

    Console().table(FIGURES)

    assert "openvino  10.25" in capsys.readouterr().out


def test_a_terminal_with_rich_gets_every_cell(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("rich")
    monkeypatch.setattr("sys.stdout.isatty", lambda: True)

    Console().table(Table(("[name]",), (("[red]kept as it is[/red]",),)))

    text = capsys.readouterr().out
    assert "[name]" in text
    assert "[red]kept as it is[/red]" in text


@pytest.mark.parametrize(
    ("count", "text"),
    [(0, "0 B"), (999, "999 B"), (1_250_000, "1.2 MB"), (2_000_000_000, "2.0 GB")],
)
def test_sizes_are_written_as_people_read_them(count: int, text: str) -> None:
    assert human_bytes(count) == text


@pytest.mark.parametrize(
    ("text", "name", "sizes"),
    [
        ("input:1x3x224x224", "input", (1, 3, 224, 224)),
        ("input:0:1X5", "input:0", (1, 5)),
        ("1,3,8,8", "", (1, 3, 8, 8)),
    ],
)
def test_a_shape_is_read_with_its_input_s_name(text: str, name: str, sizes: tuple[int]) -> None:
    assert shape(text) == (name, sizes)


@pytest.mark.parametrize(
    "text", ["input", "input:", "input:1x", "input:0x3", "input:-1x3", "x:1.5"]
)
def test_a_malformed_shape_is_refused_with_an_example(text: str) -> None:
    with pytest.raises(UsageError, match="input:1x3x224x224"):
        shape(text)


@dataclass(frozen=True)
class Asked:
    """A command that measures, and how it is told which output counts."""

    command: Command
    words: tuple[str, ...]
    output: str


ASKED = {
    "eval": Asked(evaluate.COMMAND, (__file__, "--metric", "top1"), "--output"),
    "build": Asked(build.COMMAND, (__file__,), "--output-name"),
    "convert": Asked(convert.COMMAND, (__file__, "-t", "tflite"), "--output-name"),
}


@pytest.mark.parametrize("name", ASKED)
def test_commands_that_measure_keep_their_options_under_the_same_names(name: str) -> None:
    asked = ASKED[name]
    parser = Parser("edgekit", description="")
    asked.command.configure(parser)

    words = ("--validation", __file__, "--decoder", "yolox", asked.output, "scores")
    found = parser.parse_strictly([*asked.words, *words])

    assert found.validation == Path(__file__)
    assert (found.decoder, found.output_name) == ("yolox", "scores")


def test_a_shape_given_twice_is_refused() -> None:
    with pytest.raises(UsageError, match="'input' twice"):
        collect_shapes([("input", (1,)), ("input", (2,))])
