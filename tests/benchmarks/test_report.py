"""The page and its charts say what the results say."""

import re

import pytest

from benchmarks.report.charts import line_chart, parts_chart, ratio_chart, time_parts
from benchmarks.report.page import markdown, print_table, ratio_rows, write_report

ROWS = [
    {"contender": "quick", "median": 4.0, "low": 2.0, "high": 8.0},
    {"contender": "<same>", "median": 1.0, "low": 0.5, "high": 2.0},
    {"contender": "slow", "median": 0.25, "low": 0.125, "high": 0.5},
]


def test_a_ratio_lies_inside_its_interval_and_the_axis_is_logarithmic():
    drawn = ratio_chart(ROWS)
    lines = re.findall(r"x1='([\d.]+)' x2='([\d.]+)' y1='(\d+)'", drawn)
    ones, spans, marks = ([line for line in lines if line[2] == top] for top in ("0", "5", "1"))
    assert len(ones) == len(spans) == len(marks) == len(ROWS)
    for (left, right, _), (middle, _, _) in zip(spans, marks):
        assert float(middle) == pytest.approx((float(left) + float(right)) / 2, abs=0.01)
    assert float(marks[1][0]) == pytest.approx(float(ones[0][0]))
    assert "&lt;same&gt;" in drawn
    assert "<same>" not in drawn


def test_equal_contenders_can_be_drawn():
    equal = {"contender": "a", "median": 1.0, "low": 1.0, "high": 1.0}
    assert "1.00×" in ratio_chart([equal])
    assert "polyline" in line_chart({"a": [(1, 1.0), (1, 1.0)]}, across="x", up="y")


@pytest.mark.parametrize(
    ("microseconds", "parts"),
    [
        ({"total": 10.0, "step": 6.0, "gemm": 4.0, "data": 1.0}, [4.0, 2.0, 1.0, 3.0]),
        ({"total": 10.0, "step": 12.0, "gemm": 4.0, "data": 1.0}, [4.0, 5.0, 1.0, 0.0]),
        ({"total": 10.0, "step": 6.0, "gemm": 7.0, "data": 1.0}, [6.0, 0.0, 1.0, 3.0]),
        ({"total": 10.0, "step": 6.0, "gemm": 4.0}, [4.0, 2.0, 0.0, 4.0]),
        ({"total": 10.0}, [10.0]),
    ],
)
def test_the_parts_of_an_image_add_up_to_its_time(microseconds, parts):
    found = time_parts(microseconds)
    assert list(found.values()) == pytest.approx(parts)
    assert sum(found.values()) == pytest.approx(microseconds["total"])
    assert ("not told apart" in found) == ("data" not in microseconds)


def test_bars_are_drawn_to_one_scale():
    drawn = parts_chart({"a": {"data": 8.0}, "b": {"data": 2.0}})
    assert re.findall(r"width='([\d.]+)'", drawn) == ["100.00", "25.00"]


def test_the_page_answers_before_it_explains(results, tmp_path):
    write_report(results, tmp_path / "report.html")
    page = (tmp_path / "report.html").read_text()
    answer = page[page.index("class=answer") : page.index("<h2>")]
    assert "<b>fast</b>" in answer
    assert "4.00 times as fast as slow (3.80 to 4.20)" in answer
    assert "4.00 times its floor, a copy of the float32 batches" in answer
    assert "busy" not in answer
    results.environment["busy"] = True
    write_report(results, tmp_path / "report.html")
    assert "The machine was busy" in (tmp_path / "report.html").read_text()


def test_overlapping_intervals_are_not_called_a_win(results, tmp_path):
    results.ratios[2]["high"] = 9.0
    results.ratios[0]["high"] = 3.9
    write_report(results, tmp_path / "report.html")
    assert "its interval overlaps those of slow" in (tmp_path / "report.html").read_text()


def test_on_an_accelerator_wall_time_is_what_counts(results):
    assert results.clock == "cpu"
    results.environment["device"] = "cuda"
    assert results.clock == "wall"
    assert all(row["clock"] == "wall" for rows in ratio_rows(results, clock=results.clock).values() for row in rows)


def test_the_markdown_says_on_what_was_timed(results):
    content = vars(results) | {"created": "2026-01-01"}
    assert markdown(content).startswith("2026-01-01, digits, a cpu, one thread; ")
    content["environment"] |= {"device": "cuda", "gpu": "a gpu"}
    assert markdown(content).startswith("2026-01-01, digits, a gpu, wall time; ")
    content["environment"] = content["environment"] | {"busy": True}
    assert markdown(content).startswith("2026-01-01, digits, a gpu, wall time, not idle; ")


def test_the_markdown_has_a_column_for_floors_only_where_there_are_any(results):
    content = vars(results) | {"created": "2026-01-01"}
    assert "| fast | 2500.000 | 4.00 | 3.80 to 4.20 | 4.00 |" in markdown(content)
    assert "| fast | 2500.000 | 4.00 | 3.80 to 4.20 |\n" in markdown(content | {"floors": []})


def test_the_scaling_is_drawn_where_there_are_two_batch_sizes(results, tmp_path):
    def page(*cases: str) -> str:
        for row in (*results.measurements, *results.ratios):
            row["case"] = cases[0] if row["contender"] == "slow" else row["case"]
        measurements, ratios = (
            [row | {"case": case, "contender": "slow"} for case in cases for row in rows]
            for rows in (results.measurements[:2], results.ratios[:2])
        )
        results.measurements, results.ratios = measurements, ratios
        write_report(results, tmp_path / "report.html")
        return (tmp_path / "report.html").read_text()

    assert "Scaling" not in page("loading, batch 32, mnist", "loading, batch 32, digits")
    assert "by images per batch" in page("loading, batch 32, mnist", "loading, batch 512, mnist")
    assert "by images in the dataset" in page(
        "loading, batch 32, digits repeated to 6,000", "loading, batch 32, digits repeated to 60,000"
    )


def test_a_row_whose_data_fell_back_is_marked(results, tmp_path, capsys):
    results.profiles[1]["settings"] = {"fell back to": "uint8"}
    marked = "fast (fell back to uint8)"
    print_table(results)
    write_report(results, tmp_path / "report.html")
    printed = markdown(vars(results) | {"created": "2026-01-01"})
    for shown in (capsys.readouterr().out, (tmp_path / "report.html").read_text(), printed):
        assert shown.count(marked) == 1
        assert "slow (fell" not in shown
