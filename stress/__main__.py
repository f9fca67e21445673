"""`python -m stress callers|cloud OPTIONS`: one side of the load as a process, for `voice stress`. OPTIONS is JSON."""

import json
import sys
import time

import trio

from stress.sides import Options, obey


def main() -> None:
    role, options = sys.argv[1], json.loads(sys.argv[2])
    trio.run(obey, role, Options(**options | {"asks": tuple(options["asks"])}), time.monotonic_ns)


if __name__ == "__main__":
    main()
