"""docs/operations.md names every setting, its default and what it does: the table is the code's own words."""

from pathlib import Path

from app.settings import Settings

OPERATIONS = Path(__file__).parents[2] / "docs" / "operations.md"


def rows() -> list[str]:
    lines = []
    for name, field in Settings.model_fields.items():
        default = getattr(field.default, "value", field.default)
        shown = f"`{default}`" if default not in ("", None) else "empty"
        lines.append(f"| `GANTRY_{name.upper()}` | {shown} | {field.description} |")
    return lines


def test_every_setting_stands_in_the_table_as_the_code_describes_it() -> None:
    text = OPERATIONS.read_text(encoding="utf-8")
    missing = [row for row in rows() if row not in text]
    assert not missing, "docs/operations.md lacks these rows:\n" + "\n".join(missing)


def test_the_table_names_no_setting_that_is_gone() -> None:
    known = {f"GANTRY_{name.upper()}" for name in Settings.model_fields}
    named = {
        line.split("`")[1]
        for line in OPERATIONS.read_text(encoding="utf-8").splitlines()
        if line.startswith("| `GANTRY_")
    }
    assert named == known
