"""Words, numbers and names as the commands show them."""

import os


def printable(text: str) -> str:
    """`text` without anything that a terminal would obey or that cannot be encoded: names of files come from strangers."""
    decoded = os.fsencode(text).decode("utf-8", "replace") if not text.isascii() else text
    return "".join(char if char.isprintable() else "\N{REPLACEMENT CHARACTER}" for char in decoded)


def size_text(size: float) -> str:
    """Bytes for people, in powers of 1000: `12.3 MB`."""
    for unit in ("bytes", "kB", "MB", "GB"):
        if size < 1000:
            return f"{size:.0f} {unit}" if unit == "bytes" else f"{size:.1f} {unit}"
        size /= 1000
    return f"{size:.1f} TB"


def counted(count: int, one: str, many: str = "") -> str:
    """`1 file`, `2,000 files`."""
    return f"{count:,} {one if count == 1 else many or one + 's'}"
