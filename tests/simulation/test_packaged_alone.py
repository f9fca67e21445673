"""The simulated world installed alone: nothing of the product comes with it, and it grades a bridge."""

import subprocess
import sys
import zipfile
from pathlib import Path

from tests.house_rules import ROOT

EXAMPLE = """
import sys
from simulation.outside import open_world_outside

assert not {"runtime", "actors", "tools", "db"} & set(sys.modules)
with open_world_outside() as world:
    held = world.hold("ws://127.0.0.1:1/voice", sys.argv[1])
print(held.report.ending, len(held.failures) > 0)
"""


def test_wheel_holds_the_simulation_and_nothing_of_the_product(tmp_path: Path) -> None:
    subprocess.run(
        [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(tmp_path)],
        cwd=ROOT / "packages" / "simulation", check=True, capture_output=True,
    )  # fmt: skip
    (wheel,) = tmp_path.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        names = {name.split("/")[0] for name in archive.namelist()}
        archive.extractall(tmp_path / "site")
    assert {name for name in names if not name.endswith(".dist-info")} == {"simulation"}
    script = tmp_path / "example.py"
    script.write_text(f"import sys; sys.path.insert(0, {str(tmp_path / 'site')!r})\n{EXAMPLE}")
    scenario = ROOT / "scenarios" / "replace-card.yaml"
    ran = subprocess.run(
        [sys.executable, "-P", str(script), str(scenario)], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert ran.stdout == "unreachable True\n", ran.stderr
