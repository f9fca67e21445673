"""`voice` in many processes, each forked off one that has imported it: what every start costs is paid once. What a
process reads, says and ends with is its own; only that its modules are found is seen elsewhere."""

import json
import select
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import attrs

SECONDS = 30.0  # for one of them
PARENT = """
import gc, json, os, sys
import runtime.demo, runtime.serve, simulation.standalone
from runtime.cli import main

gc.freeze()  # a child that ends need not walk through the modules

for line in sys.stdin:
    asked = json.loads(line)
    child = os.fork()
    if not child:
        os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
        for number, path in enumerate(asked["outputs"], 1):
            os.dup2(os.open(path, os.O_WRONLY | os.O_CREAT), number)
        os.environ.clear()
        os.environ.update(asked["environ"])
        sys.argv = ["voice", *asked["arguments"]]
        sys.exit(main())
    print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)
"""


@attrs.frozen
class Forks:
    _parent: "subprocess.Popen[str]"
    _folder: Path

    def voice(self, *arguments: str, environ: Mapping[str, str]) -> "subprocess.CompletedProcess[str]":
        """As `subprocess.run` of `voice` with these arguments and this environment. Raises TimeoutExpired."""
        outputs = [self._folder / name for name in ("stdout", "stderr")]
        for path in outputs:
            path.unlink(missing_ok=True)
        asked = {"arguments": arguments, "environ": dict(environ), "outputs": list(map(str, outputs))}
        assert self._parent.stdin is not None
        assert self._parent.stdout is not None
        self._parent.stdin.write(json.dumps(asked) + "\n")
        self._parent.stdin.flush()
        if not select.select([self._parent.stdout], [], [], SECONDS)[0]:
            raise subprocess.TimeoutExpired(["voice", *arguments], SECONDS)
        code = int(self._parent.stdout.readline())
        return subprocess.CompletedProcess(["voice", *arguments], code, *(path.read_text() for path in outputs))


@contextmanager
def open_forks() -> Iterator[Forks]:
    with (
        tempfile.TemporaryDirectory() as folder,
        subprocess.Popen(
            [sys.executable, "-c", PARENT], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, process_group=0
        ) as parent,
    ):
        try:
            yield Forks(parent, Path(folder))
        finally:
            assert parent.stdin is not None
            parent.stdin.close()
            try:
                parent.wait(5)
            except subprocess.TimeoutExpired:
                parent.kill()
