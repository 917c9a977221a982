"""Damage to the files of a Zarr folder, as disks, transfers and programs do it."""

import json
import os
import random

VALUES = (None, -1, 0, 1, 7, 10**9, 2**63, 1e308, float("nan"), float("inf"), "", "x" * 5000, [], [[]], {}, True, "<f8")


def files_of(folder):
    """List the files of a Zarr folder in a fixed order: of its metadata all, of each array the first chunk."""
    found = sorted(path for path in folder.rglob("*") if path.is_file())
    metadata = [path for path in found if path.name.startswith(".z") or path.name == "zarr.json"]
    chunks = {path.relative_to(folder).parts[0]: path for path in reversed(found) if path not in metadata}
    return metadata + sorted(chunks.values())


def damage(path, dice: random.Random):
    """Damage a file in one way, and say how."""
    ways = [cut_off, flipped, deleted, emptied, text, fifo, loop, folder]
    if path.name.startswith(".z") or path.name == "zarr.json":
        ways = [*ways[:4], nested, *[changed] * 12]
    way = dice.choice(ways)
    return f"{path.parent.name}/{path.name} {way.__name__} {way(path, dice) or ''}"


def cut_off(path, dice):
    path.write_bytes(path.read_bytes()[: dice.randrange(path.stat().st_size or 1)])


def flipped(path, dice):
    content = bytearray(path.read_bytes())
    for _ in range(dice.randint(1, 8)):
        content[dice.randrange(min(len(content), dice.choice((16, len(content)))))] ^= 1 << dice.randrange(8)
    path.write_bytes(content)


def deleted(path, dice):
    path.unlink()


def emptied(path, dice):
    path.write_bytes(b"")


def text(path, dice):
    path.write_text("<html>404 Not Found</html>")


def fifo(path, dice):
    path.unlink()
    os.mkfifo(path)


def loop(path, dice):
    path.unlink()
    path.symlink_to(path.name)


def folder(path, dice):
    path.unlink()
    path.mkdir()


def nested(path, dice):
    path.write_text('{"a":' * 100000)


def changed(path, dice):
    """Put another value for a key anywhere in a JSON file, or leave the key out."""
    content = json.loads(path.read_text())
    place = content
    while True:
        key = dice.choice(list(place) if isinstance(place, dict) else range(len(place)))
        if not isinstance(place[key], dict | list) or not place[key] or dice.random() < 0.3:
            break
        place = place[key]
    if dice.random() < 0.2:
        del place[key]
        value = "left out"
    else:
        place[key] = value = dice.choice(VALUES)
    path.write_text(json.dumps(content))
    return f"{key} {str(value)[:20]}"
