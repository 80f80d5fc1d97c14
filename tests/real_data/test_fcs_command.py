"""The command that says what becomes of FCS files prints the table that the documentation shows."""

from pathlib import Path

from phenoloom.__main__ import main

PAGE = Path(__file__).resolve().parents[2] / "docs" / "reference" / "fcs.md"


def test_the_page_shows_what_the_command_prints(shared_data, capsys):
    assert main(["fcs", str(shared_data("fcs"))]) == 0
    printed = capsys.readouterr().out
    assert printed.count("\n") == 21
    assert printed in PAGE.read_text(encoding="utf-8")


def test_as_tsv_and_of_single_files(shared_data, capsys):
    path = shared_data("ics_hela_h2b") / "HeLa_H2B_100.fcs"
    assert main(["fcs", str(path), "--format", "tsv"]) == 0
    head, row = (line.split("\t") for line in capsys.readouterr().out.splitlines())
    assert dict(zip(head, row, strict=True))["events"] == "100"


def test_a_path_without_files_is_one_sentence(tmp_path, capsys):
    assert main(["fcs", str(tmp_path / "nowhere")]) == 1
    assert "nowhere does not exist" in capsys.readouterr().err
    assert main(["fcs", str(tmp_path)]) == 1
    assert "has no file that ends in .fcs or .lmd" in capsys.readouterr().err
