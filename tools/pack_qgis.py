"""Pack the plugin of QGIS into a ZIP file that its plugin manager installs: ``python tools/pack_qgis.py [FOLDER]``.

In it are the files that git tracks, and the licence. Equal files give equal bytes.
"""

import configparser
import subprocess
import sys
import zipfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
PLUGIN = ROOT / "integrations" / "qgis" / "coslide_qgis"
DATE = (1980, 1, 1, 0, 0, 0)


def main(folder: Path) -> Path:
    """Write the ZIP file, named by the version of the plugin, into a folder."""
    metadata = configparser.ConfigParser()
    metadata.read(PLUGIN / "metadata.txt", encoding="utf-8")
    listed = subprocess.run(["git", "ls-files", "-z", PLUGIN], cwd=ROOT, capture_output=True, text=True, check=True)  # noqa: S607
    files = [ROOT / name for name in sorted(filter(None, listed.stdout.split("\0")))]
    files = {f"{PLUGIN.name}/{path.relative_to(PLUGIN)}": path for path in files if path.is_file()}
    files[f"{PLUGIN.name}/LICENSE"] = ROOT / "LICENSE"  # of all of coslide
    folder.mkdir(parents=True, exist_ok=True)
    packed = folder / f"{PLUGIN.name}-{metadata['general']['version']}.zip"
    with zipfile.ZipFile(packed, "w") as archive:
        for name, path in sorted(files.items()):
            entry = zipfile.ZipInfo(name, DATE)
            entry.external_attr = 0o644 << 16  # else nobody may read it
            archive.writestr(entry, path.read_bytes(), zipfile.ZIP_DEFLATED)
    return packed


if __name__ == "__main__":
    print(main(Path(sys.argv[1]) if len(sys.argv) > 1 else ROOT / "dist"))
