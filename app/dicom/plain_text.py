"""Text that every database can hold."""


def clean_text(text: str) -> str:
    """Without padding (PS3.5 section 6.2), NUL and lone surrogates, which text decoded from hostile bytes may hold."""
    text = text.replace("\0", "").strip(" ")
    if text.isascii():
        return text
    return text.encode("utf-8", "replace").decode("utf-8")
