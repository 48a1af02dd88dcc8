"""The page and its charts say what the results say."""

import base64

import pytest

from benchmarks.report.charts import draw_lines, draw_parts, draw_ratios, split_time
from benchmarks.report.page import write_report
from benchmarks.report.tables import markdown, print_table, ratio_rows
from core_torch.evaluation.embedding import embed_figure


def svg_of(figure) -> str:
    kind, _, content = embed_figure(figure).partition(",")
    assert kind == "data:image/svg+xml;base64"
    return base64.b64decode(content).decode()


ROWS = [
    {"contender": "quick", "median": 4.0, "low": 2.0, "high": 8.0},
    {"contender": "<same>", "median": 1.0, "low": 0.5, "high": 2.0},
    {"contender": "slow", "median": 0.25, "low": 0.125, "high": 0.5},
]


def test_a_ratio_lies_inside_its_interval_and_the_axis_is_logarithmic():
    axes = draw_ratios(ROWS, title="", across="").axes[0]
    assert axes.get_xscale() == "log"
    one, *marks = axes.lines
    assert set(one.get_xdata()) == {1}
    assert [mark.get_xdata()[0] for mark in marks] == [row["median"] for row in reversed(ROWS)]
    spans = [tuple(collection.get_segments()[0][:, 0]) for collection in axes.collections]
    assert spans == [(row["low"], row["high"]) for row in reversed(ROWS)]
    assert [label.get_text() for label in axes.get_yticklabels()] == [row["contender"] for row in reversed(ROWS)]


def test_equal_contenders_can_be_drawn():
    equal = {"contender": "a", "median": 1.0, "low": 1.0, "high": 1.0}
    assert "1.00×" in svg_of(draw_ratios([equal], title="", across=""))
    assert svg_of(draw_lines({"a": [(1, 1.0), (1, 1.0)]}, across="x", up="y"))


def test_a_name_is_neither_markup_nor_a_formula():
    drawn = svg_of(draw_ratios([ROWS[1] | {"contender": "<b>$x^{$"}], title="", across=""))
    assert "&lt;b&gt;$x^{$" in drawn
    assert "<b>" not in drawn


def test_equal_charts_are_equal_files():
    one, other = (draw_ratios(ROWS, title="", across="") for _ in range(2))
    assert svg_of(one) == svg_of(other)


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
    found = split_time(microseconds)
    assert list(found.values()) == pytest.approx(parts)
    assert sum(found.values()) == pytest.approx(microseconds["total"])
    assert ("not told apart" in found) == ("data" not in microseconds)


def test_bars_are_drawn_to_one_scale():
    axes = draw_parts({"a": {"data": 8.0}, "b": {"data": 2.0}}).axes[0]
    assert [bar.get_width() for bar in axes.patches] == [2.0, 8.0]


def test_the_page_answers_before_it_explains(results, tmp_path):
    write_report(results, tmp_path / "report.html")
    page = (tmp_path / "report.html").read_text()
    answer = page[page.index("class='answer") : page.index("<h2>")]
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
