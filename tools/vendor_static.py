"""Fetch the scripts the dashboard carries from the npm registry: ``python tools/vendor_static.py``.

Writes the files and ``vendored.json`` (package, version, licence, SHA-256 of each file), which a test compares with
what is there. Needs npm.
"""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path

STATIC = Path(__file__).resolve().parents[1] / "src" / "streamq" / "web" / "static"

PACKAGES = {
    "htmx.org@4.0.1": {"dist/htmx.min.js": "htmx.min.js", "LICENSE": "htmx.LICENSE.txt"},
    "uplot@1.6.32": {
        "dist/uPlot.iife.min.js": "uPlot.iife.min.js",
        "dist/uPlot.min.css": "uPlot.min.css",
        "LICENSE": "uPlot.LICENSE.txt",
    },
}
"""Package and version -> file in the package -> our name."""


def main() -> int:
    """Fetch, write, list."""
    listed: list[dict[str, str]] = []
    with tempfile.TemporaryDirectory() as folder:
        for spec, files in PACKAGES.items():
            done = subprocess.run(  # noqa: S603 - our own list
                ["npm", "pack", "--silent", spec],  # noqa: S607 - wherever npm is
                cwd=folder,
                check=True,
                capture_output=True,
                text=True,
            )
            with tarfile.open(Path(folder) / done.stdout.strip().splitlines()[-1]) as archive:
                about = json.loads(_read(archive, "package.json"))
                for path, name in files.items():
                    data = _read(archive, path)
                    (STATIC / name).write_bytes(data)
                    listed.append(
                        {
                            "file": name,
                            "package": about["name"],
                            "version": about["version"],
                            "license": about["license"],
                            "path": path,
                            "sha256": hashlib.sha256(data).hexdigest(),
                        }
                    )
    (STATIC / "vendored.json").write_text(json.dumps(listed, indent=2) + "\n")
    for one in listed:
        print(f"{one['file']:<20} {one['package']} {one['version']}, {one['license']}")
    return 0


def _read(archive: tarfile.TarFile, path: str) -> bytes:
    found = archive.extractfile(f"package/{path}")
    if found is None:
        raise FileNotFoundError(path)
    return found.read()


if __name__ == "__main__":
    sys.exit(main())
