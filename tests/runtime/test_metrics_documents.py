"""docs/operations.md explains every figure, and docs/grafana/voice.json draws no other."""

import json
import re
from pathlib import Path
from typing import Any

from tests.runtime.metrics_page import families, open_house

OPERATIONS = Path("docs/operations.md")
DASHBOARD = Path("docs/grafana/voice.json")
NAME = re.compile(r"\b(?:voice|process|python)_[a-z_]+\b")
MATCHED = re.compile(r"\b((?:voice|process|python)_[a-z_]+)\{([^}]*)\}")
GROUPED = re.compile(r"\b(?:by|on) \(([a-z_, ]+)\)")
OF_THE_SCRAPE = {"instance", "job"}
ON_LINUX_ONLY = {
    "process_cpu_seconds_total", "process_max_fds", "process_open_fds", "process_resident_memory_bytes",
    "process_start_time_seconds", "process_virtual_memory_bytes",
}  # fmt: skip

Known = dict[str, dict[str, set[str]]]


async def known() -> Known:
    """Per name of a sample, its labels with the values they have."""
    found: Known = {name: {} for name in ON_LINUX_ONLY}
    async with open_house() as house:
        for sample in (sample for family in await families(house) for sample in family.samples):
            labels = found.setdefault(sample.name, {})
            for label, value in sample.labels.items():
                labels.setdefault(label, set()).add(value)
    return found


def faults(expression: str, known: Known) -> list[str]:
    """What in a PromQL expression is not there: a figure, a label, or a value of one."""
    found = [name for name in NAME.findall(expression) if name not in known]
    labels = OF_THE_SCRAPE.union(*(known.get(name, {}) for name in NAME.findall(expression)))
    for names in GROUPED.findall(expression):
        found += [f"by {name}" for name in names.split(", ") if name not in labels]
    for name, inside in MATCHED.findall(expression):
        for label, matcher, value in re.findall(r'([a-z_]+)(=~|!~|!=|=)"([^"]*)"', inside):
            values = known.get(name, {}).get(label)
            if label in OF_THE_SCRAPE:
                continue
            wanted = value.split("|") if "~" in matcher else [value]
            found += [f"{name}: {label}={one}" for one in wanted if one not in (values or set())]
    return found


def read(path: Path) -> str:
    return path.read_text()


def rows() -> dict[str, list[str]]:
    """The rows of the tables of figures, by the figure's name; each with its cells."""
    figures = read(OPERATIONS).partition("\n## Figures\n")[2]
    lines = [line.split(" | ") for line in figures.splitlines() if re.match(r"\| `[a-z]+_", line)]
    return {re.findall(r"`([a-z_]+)`", cells[0])[0]: cells for cells in lines}


async def test_every_figure_has_its_row_and_every_row_its_figure() -> None:
    async with open_house() as house:
        shown = {
            f"{family.name}_total" if family.type == "counter" else family.name for family in await families(house)
        } | ON_LINUX_ONLY
    assert set(rows()) == shown


async def test_every_row_tells_what_its_figure_is_and_shows_how_to_ask() -> None:
    there = await known()
    for name, cells in rows().items():
        assert len(cells) == 4, name
        figure, what, normal, example = cells
        for label in {*there.get(name, {}), *there.get(f"{name}_bucket", {})} - {"le"}:
            assert f"`{label}`" in figure, (name, label)
        assert len(what) > 10, name
        assert len(normal) > 1, name
        assert name in example, name
        assert faults(example, there) == [], name


async def test_every_value_of_a_label_is_explained() -> None:
    there, told = await known(), rows()
    text = "\n".join(cells[1] for cells in told.values())
    skipped = {"le", "tool", "reason", "generation", "version", "python", "pod", "leg", "direction"}
    for name in told:
        for label, values in there.get(name, {}).items():
            if label not in skipped:
                assert [value for value in sorted(values) if f"`{value}`" not in text] == [], (name, label)


async def test_alerts_ask_for_figures_that_are_there() -> None:
    there = await known()
    asked = re.findall(r"^\| [^|`]* \| `(.*)` \|$", read(OPERATIONS), re.MULTILINE)
    assert len(asked) == 7
    assert {one: wrong for one in asked if (wrong := faults(one.replace("\\|", "|"), there))} == {}


def test_faults_are_found_in_an_expression() -> None:
    known: Known = {"voice_calls": {"phase": {"live"}}}
    assert faults('sum by (phase) (voice_calls{phase="live", instance=~"$instance"})', known) == []
    assert faults("rate(voice_call_total[5m])", known) == ["voice_call_total"]
    assert faults("sum by (state) (voice_calls)", known) == ["by state"]
    assert faults('voice_calls{phase="alive"}', known) == ["voice_calls: phase=alive"]
    assert faults('voice_calls{phase=~"live|dead"}', known) == ["voice_calls: phase=dead"]


def panels() -> list[Any]:
    dashboard = json.loads(DASHBOARD.read_text())
    assert dashboard["templating"]["list"]
    return [panel for panel in dashboard["panels"] if panel["type"] != "row"]


async def test_dashboard_asks_for_nothing_that_is_not_there() -> None:
    there = await known()
    for panel in panels():
        assert panel["targets"], panel["title"]
        for target in panel["targets"]:
            assert NAME.search(target["expr"]), panel["title"]
            assert faults(target["expr"], there) == [], panel["title"]
            for label in re.findall(r"\{\{([a-z_]+)\}\}", target["legendFormat"]):
                assert label == "instance" or label in target["expr"], (panel["title"], label)


def test_dashboard_shows_every_figure_of_ours() -> None:
    drawn = {name for panel in panels() for target in panel["targets"] for name in NAME.findall(target["expr"])}
    drawn = {name.removesuffix("_bucket") for name in drawn}
    assert {name for name in rows() if name.startswith("voice_")} - drawn == set()


def test_dashboards_panels_lie_beside_each_other() -> None:
    every = json.loads(DASHBOARD.read_text())["panels"]
    assert len({panel["id"] for panel in every}) == len(every)
    taken: set[tuple[int, int]] = set()
    for panel in every:
        at = panel["gridPos"]
        cells = {(x, y) for x in range(at["x"], at["x"] + at["w"]) for y in range(at["y"], at["y"] + at["h"])}
        assert at["x"] + at["w"] <= 24, panel["title"]
        assert not cells & taken, panel["title"]
        taken |= cells
