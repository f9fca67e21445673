"""Where the embedded server keeps its data."""

import hashlib
import os
from pathlib import Path


def embedded_folder() -> Path:
    """runs/postgres; for root in a folder that is root's alone, one that the server's own user can reach.

    PostgreSQL refuses to run as root, so its server runs as another user there, and no permission is changed for it.
    """
    here = Path.cwd()
    if os.geteuid() != 0:
        return Path("runs/postgres")
    folder = here / "runs" / "postgres"
    folder.mkdir(parents=True, exist_ok=True)
    if all(os.stat(above).st_mode & 0o001 for above in (folder, *folder.parents)):
        return Path("runs/postgres")
    return Path("/var/lib/mini-bcs-voice-vapi") / hashlib.sha256(os.fsencode(here)).hexdigest()[:12]
