"""`make image-steps`: the steps of both Dockerfiles, done without a container engine, and what comes out of them, run.

Every COPY, ENV and RUN is done as it is written, in a root folder of its own; only Debian's packages are not installed.
Then the CMD is started as the image's USER on a read-only file system, against a simulated Vapi and a PostgreSQL: it
has to open its doors, pass its health check, hold a call, and end in order by SIGTERM. Exit codes: 0 all well, 1 a step
failed, 3 this machine cannot do it.
"""

import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import attrs
import trio
import yaml

from scripts.dockerfile import Stage, read_dockerfile
from scripts.image_root import (
    BASE_ENVIRONMENT,
    OFFLINE,
    PROJECT,
    Root,
    StepFailed,
    Workshop,
    copy,
    run,
    working_folder,
)
from scripts.image_run import Image, hold_a_call, look_at_commands

FAILED: Final = 1
NOT_POSSIBLE: Final = 3
UNSHARE: Final = ("unshare", "--mount", "--propagation", "private")


def say(line: str) -> None:
    sys.stdout.write(f"image-steps: {line}\n")
    sys.stdout.flush()


@contextmanager
def told(what: str) -> Iterator[None]:
    began = time.monotonic()
    yield
    say(f"{time.monotonic() - began:5.1f} s  {what[:110]}")


def main() -> None:
    if len(sys.argv) > 1:  # in the mount namespace, with the folder to work in
        sys.exit(_all(Path(sys.argv[1])))
    possible = sys.platform == "linux" and os.geteuid() == 0 and shutil.which("unshare") and shutil.which("setpriv")
    if not possible or subprocess.run([*UNSHARE, "true"], capture_output=True, check=False).returncode != 0:
        say("not run: it mounts folders, which takes root on Linux, unshare and setpriv; or build the images instead")
        sys.exit(NOT_POSSIBLE)
    clean = tempfile.mkdtemp(prefix="image-steps-")
    os.chmod(clean, 0o755)
    try:  # what is mounted in there is not mounted for us: what is removed is only what was made
        code = subprocess.run([*UNSHARE, sys.executable, "-m", "scripts.image_steps", clean], check=False).returncode
    finally:
        shutil.rmtree(clean)
    sys.exit(code)


def _all(clean: Path) -> int:
    began = time.monotonic()
    try:
        workshop = Workshop(clean)
        with told("packages fetched, as the locks name them; a Python with pip"):
            workshop.open()
        _production(workshop)
        _sandbox(workshop)
    except StepFailed as exc:
        say(f"failed: {exc}")
        return FAILED
    say(f"two images, three starts, three calls: all well, in {time.monotonic() - began:.0f} s")
    return 0


def _production(workshop: Workshop) -> None:
    image = _built(workshop, read_dockerfile(PROJECT / "Dockerfile"))
    with told("the commands in it; those that need the extras say so"):
        look_at_commands(image)
    with told("started with nothing to write to: doors, health check, a call, SIGTERM"):
        said = trio.run(hold_a_call, image, {"POD_ID": "pod-1"})
    runs = workshop.clean / "runs"
    runs.mkdir()
    os.chown(runs, *(int(number) for number in image.user.split(":")))
    with (
        told("started with runs/ to write to, recording: the same"),
        image.root.with_folder(runs, "/agent/runs", writable=True),
    ):
        said = trio.run(hold_a_call, image, {"RECORD_CALLS": "on"})
    kept = {path.suffix or path.name for path in runs.rglob("*") if path.is_file()}
    if not {"pod_id", ".wav"} <= kept:
        raise StepFailed(f"the pod's name and a recording are not in runs/, but {sorted(kept)}: {said[-1:]}")


def _sandbox(workshop: Workshop) -> None:
    """Its environment is what .veris/veris.yaml gives it. It may write: nothing there asks for less."""
    stages = read_dockerfile(PROJECT / ".veris/Dockerfile.sandbox", {"VERIS_BASE": "the sandbox's base"})
    image = _built(workshop, stages, read_only=False)
    agent = yaml.safe_load((PROJECT / ".veris/veris.yaml").read_text())["agent"]
    with told("started as .veris/veris.yaml has it: doors, a call, SIGTERM"):
        trio.run(hold_a_call, image, dict(agent["environment"]))


def _built(workshop: Workshop, stages: list[Stage], *, read_only: bool = True) -> Image:
    roots: dict[str, Root] = {}
    for number, stage in enumerate(stages):
        root = workshop.new_root(f"{len(list(workshop.clean.iterdir()))}-{stage.name or number}")
        roots[stage.name] = root
        _lay(root, stage, roots)
    last = stages[-1]
    if read_only:
        root.make_read_only()
    users = last.all_of("USER")
    return Image(
        root,
        last.environment(BASE_ENVIRONMENT),
        working_folder(last),
        users[-1].text if users else "0:0",
        last.last("CMD").command,
        last.last("HEALTHCHECK").command if last.all_of("HEALTHCHECK") else [],
    )


def _lay(root: Root, stage: Stage, roots: dict[str, Root]) -> None:
    """One stage, from above to below. A later ENV or WORKDIR does not reach back."""
    done = attrs.evolve(stage, instructions=())
    for one in stage.instructions:
        done = attrs.evolve(done, instructions=(*done.instructions, one))
        folder = working_folder(done)
        if one.word == "WORKDIR":
            root.at(folder).mkdir(parents=True, exist_ok=True)
        elif one.word == "COPY":
            source = roots[one.flags["from"]].path if "from" in one.flags else PROJECT
            copy(root, one, folder, source)
        elif one.word == "RUN" and "apt-get" in one.text:
            say(f"not run  {one.text[:60]}…: no Debian packages are installed here")
        elif one.word == "RUN":
            with told(f"RUN {one.text}"):
                run([*root.enter(done.environment(BASE_ENVIRONMENT) | OFFLINE, folder), *one.command])


if __name__ == "__main__":
    main()
