"""Prompts from files of every kind, and files that are none."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from experiments.experiment import ExperimentError
from experiments.prompt_files import read_prompts


def write(path: Path, content: str) -> Path:
    path.write_text(content, encoding="utf-8")
    return path


def refusal(path: Path) -> str:
    with pytest.raises(ExperimentError) as caught:
        read_prompts(path)
    message = str(caught.value)
    assert "\n" not in message
    assert message.startswith(str(path))
    return message


def coco(*annotations: tuple[int, int, object]) -> str:
    keys = ("image_id", "id", "caption")
    rows = [dict(zip(keys, each, strict=True)) for each in annotations]
    return json.dumps({"info": {}, "images": [], "annotations": rows})


def test_text_has_a_prompt_a_line(tmp_path: Path) -> None:
    path = write(tmp_path / "captions", "\ufeffa cat\r\n\r\n  a   black dog \na cat\nA cat\n")
    assert read_prompts(path) == ["a cat", "a black dog", "A cat"]


def test_coco_gives_the_first_caption_of_every_image_in_the_images_order(tmp_path: Path) -> None:
    annotations = [
        (30, 7, "A bird.\n"),
        (10, 9, "A second cat."),
        (10, 2, " A first cat."),
        (20, 4, "A dog."),
        (30, 8, "A bird, too."),
        (40, 1, "A dog."),  # of another image: it would be drawn twice
    ]
    expected = ["A first cat.", "A dog.", "A bird."]
    assert read_prompts(write(tmp_path / "captions.json", coco(*annotations))) == expected
    reversed_ = write(tmp_path / "reversed.JSON", coco(*reversed(annotations)))
    assert read_prompts(reversed_) == expected


def test_partis_and_drawbenchs_tables(tmp_path: Path) -> None:
    parti = 'Prompt\tCategory\tNote\n"A B" on a "wall"\tArts\t\na bee, wide awake\tAnimals\t"\n'
    expected = ['"A B" on a "wall"', "a bee, wide awake"]
    assert read_prompts(write(tmp_path / "p.tsv", parti)) == expected
    drawbench = 'Prompts,Category\n"a red car, and ""a"" dog",Colors\n"two\nlines",Text\n'
    expected = ['a red car, and "a" dog', "two lines"]
    assert read_prompts(write(tmp_path / "d.csv", drawbench)) == expected


def test_a_missing_file(tmp_path: Path) -> None:
    assert "no readable text file" in refusal(tmp_path / "lost.json")


def test_bytes_that_are_no_text(tmp_path: Path) -> None:
    (tmp_path / "a.tsv").write_bytes(b"Prompt\n\xff\xfe\n")
    assert "no readable text file" in refusal(tmp_path / "a.tsv")


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        ("{", "is no JSON"),
        ("[]", "has no list 'annotations'"),
        ('{"annotations": {}}', "has no list 'annotations'"),
        ('{"annotations": ["a cat"]}', "annotations[0] has not the numbers"),
        (coco((1, 1, "a cat"), (2, 2, 3)), "annotations[1] has not the numbers"),
    ],
)
def test_json_that_is_not_cocos(tmp_path: Path, content: str, reason: str) -> None:
    assert reason in refusal(write(tmp_path / "captions.json", content))


def test_a_table_without_the_column_says_what_it_has(tmp_path: Path) -> None:
    message = refusal(write(tmp_path / "a.csv", "caption,category\na cat,Animals\n"))
    assert "no column Prompt or Prompts, only 'caption', 'category'; name one so" in message
    assert "only nothing" in refusal(write(tmp_path / "b.tsv", ""))


def test_a_quote_that_is_not_closed(tmp_path: Path) -> None:
    assert "line " in refusal(write(tmp_path / "a.csv", 'Prompts\n"a cat\n'))
