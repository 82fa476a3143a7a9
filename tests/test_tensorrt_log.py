"""What NVIDIA's library said is kept and told apart."""

from __future__ import annotations

from threading import Thread

from edgekit.runtimes.tensorrt.log import Line, Log


def test_errors_after_a_mark_leave_out_what_was_before() -> None:
    log = Log()
    log.add("error", "old")
    mark = log.mark
    log.add("warning", "careful")
    log.add("internal_error", "new\n")

    assert log.errors(mark) == ["new"]
    assert log.warnings(mark) == ["careful"]
    assert log.errors() == ["old", "new"]


def test_another_threads_errors_do_not_explain_this_ones() -> None:
    log = Log()
    thread = Thread(target=log.add, args=("error", "theirs"))
    thread.start()
    thread.join()
    log.add("error", "ours")

    assert log.errors() == ["ours"]


def test_a_builders_own_threads_are_heard_where_nobody_else_spoke() -> None:
    log = Log()
    thread = Thread(target=log.add, args=("error", "theirs"))
    thread.start()
    thread.join()

    assert log.errors() == ["theirs"]


def test_a_long_log_keeps_the_newest_lines() -> None:
    log = Log()
    for index in range(2500):
        log.add("info", str(index))

    lines = log.lines()
    assert len(lines) == 2000
    assert lines[-1].index == 2499
    assert log.text(last=2) == "[info] 2498\n[info] 2499"


def test_a_listener_hears_every_line_as_it_comes() -> None:
    heard: list[Line] = []
    log = Log(heard.append)

    log.add("warning", "careful")

    assert [(line.severity, line.text) for line in heard] == [("warning", "careful")]
