"""Dates and times of DICOM (DA, TM, DT; PS3.5 section 6.2) as comparable text and as moments.

Comparable text is `YYYYMMDD` and `HHMMSS.FFFFFF`. A stored value that is no date or no time becomes `!` and its text: `!`
sorts before every digit, so it stays out of every range and equals no key, and still is not empty.
A stored value of less precision counts as its beginning (`10` is 10:00:00). A key of less precision stands for the interval
that it names (`1000` is 10:00:00 to 10:00:59.999999).
"""

import re
from datetime import date

from app.dicom.plain_text import clean_text

INVALID = "!"
FIRST_DATE, LAST_DATE = "0", ":"  # every valid date or time sorts between them
DAY = 24 * 60 * 60 * 1_000_000  # microseconds
_MAX_TEXT = 64

_DATE = re.compile(r"([0-9]{4})(\.?)([0-9]{2})\2([0-9]{2})", re.ASCII)
# PS3.5 still wants the forms of ACR-NEMA (2020.01.31, 10:00:00) understood.
_TIME = re.compile(r"([0-9]{2})(?:(:?)([0-9]{2})(?:\2([0-9]{2})(?:\.([0-9]{1,6}))?)?)?", re.ASCII)
_DATE_TIME = re.compile(
    r"([0-9]{4})(?:([0-9]{2})(?:([0-9]{2})(?:([0-9]{2})(?:([0-9]{2})(?:([0-9]{2})(?:\.([0-9]{1,6}))?)?)?)?)?)?"
    r"([+-][0-9]{4})?",
    re.ASCII,
)
_OFFSET = re.compile(r"([+-])([0-9]{2})([0-9]{2})", re.ASCII)


def normalise_date(text: str) -> str:
    """`YYYYMMDD`, "" for an empty value, `!...` for what is not a date."""
    text = clean_text(text[:_MAX_TEXT])
    if not text:
        return ""
    found = _DATE.fullmatch(text)
    if found is None or _ordinal(int(found[1]), int(found[3]), int(found[4])) is None:
        return INVALID + text
    return found[1] + found[3] + found[4]


def normalise_time(text: str) -> str:
    """`HHMMSS.FFFFFF`, filled up with zeros, "" for an empty value, `!...` for what is not a time."""
    text = clean_text(text[:_MAX_TEXT])
    if not text:
        return ""
    interval = time_interval(text)
    return interval[0] if interval else INVALID + text


def time_interval(text: str) -> tuple[str, str] | None:
    """First and last moment, both inclusive, that a TM value names; None if it is none."""
    found = _TIME.fullmatch(text.strip(" \0"))
    if found is None:
        return None
    hour, minute, second, fraction = found[1], found[3], found[4], found[5]
    if hour > "23" or (minute or "00") > "59" or (second or "00") > "60":  # 60 is a leap second
        return None
    first = f"{hour}{minute or '00'}{second or '00'}.{(fraction or '').ljust(6, '0')}"
    last = f"{hour}{minute or '59'}{second or '59'}.{(fraction or '').ljust(6, '9')}"
    return first, last


def is_valid(normalised: str) -> bool:
    """Whether a normalised date or time is one."""
    return normalised[:1].isdigit()


def offset_minutes(text: str | None) -> int | None:
    """Minutes east of UTC of `+HHMM`; None where unknown."""
    found = _OFFSET.fullmatch((text or "").strip(" \0"))
    if found is None or found[2] > "14" or found[3] > "59":
        return None
    minutes = int(found[2]) * 60 + int(found[3])
    return -minutes if found[1] == "-" else minutes


def moment(day: str, time: str = "") -> int:
    """Microseconds since the year 0 of a valid normalised date and time."""
    ordinal = _ordinal(int(day[:4]), int(day[4:6]), int(day[6:8])) or 0
    return ordinal * DAY + microseconds(time or "000000.000000")


def microseconds(time: str) -> int:
    """Microseconds since midnight of a valid normalised time."""
    seconds = int(time[:2]) * 3600 + int(time[2:4]) * 60 + int(time[4:6])
    return seconds * 1_000_000 + int(time[7:13])


def date_and_time(value: int) -> tuple[str, str]:
    """The normalised date and time of a moment; dates beyond what DA can hold are cut to its ends."""
    ordinal, rest = divmod(value, DAY)
    day = date.fromordinal(min(max(ordinal, 1), date.max.toordinal()))
    return f"{day.year:04}{day.month:02}{day.day:02}", _time_text(rest)


def _time_text(value: int) -> str:
    seconds, fraction = divmod(value, 1_000_000)
    return f"{seconds // 3600:02}{seconds // 60 % 60:02}{seconds % 60:02}.{fraction:06}"


def date_time_interval(text: str) -> tuple[int, int, int | None] | None:
    """First and last moment that a DT value names, as it is written, and its own offset in minutes; None if it is none."""
    found = _DATE_TIME.fullmatch(text.strip(" \0"))
    if found is None:
        return None
    year, month, day = int(found[1]), int(found[2] or 1), int(found[3] or 1)
    first = _ordinal(year, month, day)
    times = time_interval(
        "".join((found[4] or "00", found[5] or "", found[6] or "")) + ("." + found[7] if found[7] else "")
    )
    if first is None or times is None:
        return None
    if found[3]:
        last = first
    elif found[2]:
        last = _first_of_next_month(year, month) - 1
    else:
        last = _first_of_next_month(year, 12) - 1
    end = times[1] if found[4] else "235959.999999"
    return first * DAY + microseconds(times[0]), last * DAY + microseconds(end), offset_minutes(found[8])


def _first_of_next_month(year: int, month: int) -> int:
    if month < 12:
        return date(year, month + 1, 1).toordinal()
    return date(year, 12, 31).toordinal() + 1


def _ordinal(year: int, month: int, day: int) -> int | None:
    try:
        return date(year, month, day).toordinal()
    except ValueError:
        return None
