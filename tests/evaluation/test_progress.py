import pytest
from building import digits, make_vae

from kvae.evaluation import log_likelihood, progress


def shown(capsys, verbose):
    log_likelihood(make_vae(), digits()[1][:4], num_samples=3, verbose=verbose)
    return capsys.readouterr().out


def test_is_shown_where_asked_for(capsys):
    assert "12/12" in shown(capsys, 1)  # 4 examples of 3 draws
    assert shown(capsys, 0) == ""


def test_auto_is_for_terminals_and_for_long_work(capsys, monkeypatch):
    assert shown(capsys, "auto") == ""
    terminal = type("Terminal", (), {"isatty": lambda self: True})
    for patience, is_shown in ((1e6, False), (0.0, True)):
        monkeypatch.setattr(progress, "_PATIENCE", patience)
        with monkeypatch.context() as patch:
            patch.setattr(progress.sys, "stdout", terminal())
            bar = progress.Progress(10)
        bar.add(10)
        assert ("10/10" in capsys.readouterr().out) is is_shown


def test_without_a_terminal_a_line_now_and_then(capsys, monkeypatch):
    clock = {}
    monkeypatch.setattr(progress.time, "monotonic", lambda: clock["now"])
    for total in (5_000, None):
        clock["now"] = 0.0
        counted, silent = progress.Progress(total), progress.Progress(total, verbose=0)
        for clock["now"] in (29.0, 31.0, 32.0, 62.0):
            counted.add(1000)
            silent.add(1000)
    lines = "kvae: 2,000 of 5,000 samples\nkvae: 4,000 of 5,000 samples\nkvae: 2,000 samples\nkvae: 4,000 samples\n"
    assert capsys.readouterr() == ("", lines)


def test_unknown_verbosity():
    with pytest.raises(ValueError, match="`verbose` must be one of 'auto', 0, 1"):
        progress.Progress(10, verbose=2)
